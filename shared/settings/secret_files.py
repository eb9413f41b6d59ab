"""Reads files that settings name: passwords, and the PEM files of TLS.

Owns: reading a secret from a file, and the faults of files when a process starts. A secret is read
again whenever it is needed, so a rotated secret counts from the next connection on; nothing of it
is logged or shown.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from shared.settings.loader import Fault, SettingsError

# Far more than any password or client secret; a larger file is the wrong one.
MAX_SECRET_BYTES: Final = 16 * 1024


class SecretFault(ValueError):
    """A file does not hold a secret; the text names the file and the reason."""


class SecretFile(Struct, frozen=True):
    """A file with one secret, such as a password."""

    path: str

    def read(self) -> str:
        """Return the secret without the line end after it. Raises SecretFault."""
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
    """The PEM files of one TLS client; "" where none is named."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


def require_secrets(section: str, files: Mapping[str, str]) -> None:
    """Raise SettingsError if a named file (by key of the section) holds no secret."""
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
            # Without a password function OpenSSL would ask at the terminal.
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
