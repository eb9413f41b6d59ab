"""Reads the secret files of the settings: passwords, PEM files for TLS, keys of return paths.

Owns: reading these files, and reporting their faults when a process starts. Does not own: the form
of the keys of return paths (shared/mail/verp.py). No part of a secret is logged or shown.

A password is read each time a connection needs it, so a new password is used from the next
connection on. The keys of return paths are loaded again when their file changes: after the next
refresh(), every message uses the new keys, without a restart. While the file cannot be read, the
last keys stay in use, and each change that cannot be loaded is logged once.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from shared.mail.verp import Keys, parse_keys
from shared.runtime.reloaded_files import FileForm, ReloadedFile
from shared.settings.loader import Fault, SettingsError
from shared.settings.sections import ReturnPathSettings

log = logging.getLogger(__name__)

# Passwords and client secrets are much shorter, so a larger file must be the wrong file.
MAX_SECRET_BYTES: Final = 16 * 1024
# The interval at which a service checks whether the keys of return paths have changed.
REFRESH_S: Final = 1.0
_RETURN_KEYS: Final = FileForm("return_path.keys_file", "keys of return paths", 65_536, parse_keys)


class SecretFault(ValueError):
    """A file does not contain a valid secret; the text has the path of the file and the reason."""


class SecretFile(Struct, frozen=True):
    """A file with one secret, such as a password."""

    path: str

    def read(self) -> str:
        """Return the secret without a final line end. Raises SecretFault."""
        try:
            with Path(self.path).open("rb") as file:
                data = file.read(MAX_SECRET_BYTES + 1)
            text = data.decode()
        except OSError as error:
            raise SecretFault(f"{self.path}: {(error.strerror or str(error)).lower()}") from None
        except UnicodeDecodeError:
            raise SecretFault(f"{self.path}: not text in UTF-8") from None
        if len(data) > MAX_SECRET_BYTES:
            raise SecretFault(f"{self.path}: larger than {MAX_SECRET_BYTES} bytes")
        secret = text.removesuffix("\n").removesuffix("\r")
        if not secret:
            raise SecretFault(f"{self.path}: it is empty")
        if not secret.isprintable():
            raise SecretFault(f"{self.path}: one line is expected, without control characters")
        return secret


class TlsFiles(Struct, frozen=True):
    """The PEM files of one TLS client. A path is "" if its setting is empty."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


def require_secrets(section: str, files: Mapping[str, str]) -> None:
    """Raise SettingsError if one of these files has no secret. `files` has paths by setting."""
    faults = []
    for key, path in files.items():
        try:
            if path:
                SecretFile(path).read()
        except SecretFault as error:
            faults.append(_fault(f"{section}.{key}", str(error), "a file with a secret"))
    if faults:
        raise SettingsError(faults)


def require_tls(section: str, files: TlsFiles) -> None:
    """Raise SettingsError if one of these files cannot be used."""
    if faults := list(_tls_faults(section, files)):
        raise SettingsError(faults)


def _tls_faults(section: str, files: TlsFiles) -> Iterator[Fault]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca and (reason := _unreadable(files.ca)):
        yield _fault(f"{section}.tls_ca_file", reason, "a PEM file of certificates")
    elif files.ca:
        try:
            context.load_verify_locations(files.ca)
        except ssl.SSLError:
            reason = f"{files.ca}: no PEM certificate in it"
            yield _fault(f"{section}.tls_ca_file", reason, "a PEM file of certificates")
    if not files.certificate:
        return
    reasons = {key: _unreadable(getattr(files, key)) for key in ("certificate", "key")}
    for key, reason in reasons.items():
        if reason:
            yield _fault(f"{section}.tls_{key}_file", reason, f"a PEM file with a {key}")
    if not any(reasons.values()):
        try:
            # Without a password function OpenSSL would ask for a password at the terminal.
            context.load_cert_chain(files.certificate, files.key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            text = getattr(error, "reason", "") or "no certificate and key in PEM"
            words = str(text).lower().replace("_", " ")
            reason = f"{files.certificate} and {files.key}: {words}"
            wanted = "a certificate and its key, not encrypted, in PEM"
            yield _fault(f"{section}.tls_certificate_file", reason, wanted)


def _unreadable(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    return ""


def _fault(path: str, reason: str, expected: str) -> Fault:
    return Fault(path, reason, expected, "settings", f"{reason}; expected {expected}")


class KeysFile:
    """The file of the keys that sign and verify return paths."""

    def __init__(self, path: str) -> None:
        """Load the keys. Raises UsageError if the file has no usable keys."""
        self._file: ReloadedFile[Keys] = ReloadedFile(path, _RETURN_KEYS)

    @property
    def keys(self) -> Keys:
        """Return the keys in use now."""
        return self._file.value

    def refresh(self) -> None:
        """Load the file if it has changed. For an unchanged file, only its status is read."""
        if self._file.refresh():
            log.info("keys of return paths reloaded", extra={"ids": str(self.keys.ids)})


def load_return_keys(settings: ReturnPathSettings) -> KeysFile | None:
    """Load the keys file of the settings; None if its path is empty. Raises UsageError."""
    return KeysFile(settings.keys_file) if settings.keys_file else None
