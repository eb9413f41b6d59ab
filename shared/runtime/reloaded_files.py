"""Reloads an operator's files when they change: texts, and a server's certificate.

Guarantees: changed content takes effect at the next refresh(), without a restart. A new certificate
is used for every handshake that begins after the change. While files are missing or unusable, the
last usable content stays in use, and each fault is logged once. The last usable certificate also
stays in use while a new certificate does not match its key, because an operator replaces the two
files one after the other. Owns: the files. Does not own: the form of a text, and the time at which
files are checked for a change.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from cryptography import x509
from msgspec import Struct

from shared.runtime.errors import UsageError

log = logging.getLogger(__name__)

T = TypeVar("T")
_Stamp = tuple[int, ...]
# TLS 1.2 or later, with forward secrecy (RFC 8996, RFC 9325).
_OLDEST: Final = ssl.TLSVersion.TLSv1_2


class FileForm(Struct, Generic[T], frozen=True):
    """The form that the content of a file must have.

    `setting` is the name of the setting that holds the file's path; `content` is the name of the
    file's content in log and error messages. `parse` raises ValueError with the reason why a text
    cannot be used.
    """

    setting: str
    content: str
    max_bytes: int
    parse: Callable[[str], T]


class ReloadedFile(Generic[T]):
    """One reloaded file; `value` is the last usable content of the file."""

    def __init__(self, path: str, form: FileForm[T]) -> None:
        """Raises UsageError if the file cannot be used."""
        self.path = Path(path)
        self._form = form
        self._fault = ""
        try:
            self._stamp: _Stamp | None = self._look()
            self.value = self._load()
        except (OSError, ValueError) as error:
            raise UsageError(f"{form.setting}: {path}: {_reason(error)}") from None

    def refresh(self) -> bool:
        """Load the file if it has changed; return whether it was loaded.

        An unchanged file costs one stat(). Another thread may call this method.
        """
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            # A file that cannot be used is read again only after its next change.
            self._stamp = stamp
            self.value = self._load()
        except OSError as error:
            self._stamp = None  # load the content again at the next call
            self._report(_reason(error))
            return False
        except ValueError as error:
            self._report(_reason(error))
            return False
        self._fault = ""
        return True

    def _report(self, reason: str) -> None:
        if reason != self._fault:
            log.error(
                "the changed %s cannot be used; the previous ones stay in force",
                self._form.content,
                extra={"file": str(self.path), "reason": reason},
            )
        self._fault = reason

    def _look(self) -> _Stamp:
        stat = self.path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _load(self) -> T:
        most = self._form.max_bytes
        with self.path.open("rb") as file:
            octets = file.read(most + 1)
        if len(octets) > most:
            raise ValueError(f"it is larger than {most} bytes")
        try:
            text = octets.decode()
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None
        return self._form.parse(text)


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


class Certificates:
    """The TLS context of a certificate file and its key file. Both files are PEM."""

    def __init__(self, certificate: str, key: str, settings: str) -> None:
        """`settings` has the names of both settings. Raises UsageError if a file is unusable."""
        self._paths = (Path(certificate), Path(key))
        self._fault = ""
        try:
            self._stamp: _Stamp | None = self._look()
            self.context = self._load()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{settings}: {error}; they"
                " must hold a certificate chain and its private key in PEM"
            ) from None

    def refresh(self) -> None:
        """Load the files if they have changed; unchanged files cost one stat() each."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # Files that cannot be used are read again only after their next change.
            self._stamp = stamp
            self.context = self._load()
        except (ssl.SSLError, ValueError) as error:
            self._report(str(error))
        except OSError as error:
            self._stamp = None  # load the content again at the next call
            self._report(str(error))
        else:
            self._fault = ""
            log.info("certificate reloaded", extra={"file": str(self._paths[0])})

    def expires_at_s(self) -> float:
        """Return the Unix time at which the certificate expires. This method is thread-safe."""
        self.refresh()
        return self._expires_at_s

    def serve_on(self, context: ssl.SSLContext) -> None:
        """Let each handshake on this context use the newest usable certificate."""

        def choose(handshake: Any, _name: str | None, _context: ssl.SSLContext) -> None:
            self.refresh()
            handshake.context = self.context

        context.sni_callback = choose  # OpenSSL calls `choose` even if the client names no server

    def _report(self, fault: str) -> None:
        if fault != self._fault:
            log.error("the new certificate cannot be used", extra={"reason": fault})
        self._fault = fault

    def _look(self) -> _Stamp:
        certificate, key = (path.stat() for path in self._paths)
        return certificate.st_mtime_ns, certificate.st_size, key.st_mtime_ns, key.st_size

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _OLDEST
        context.load_cert_chain(*map(str, self._paths))
        # The first certificate in the file is the server's own certificate (RFC 8446, 4.4.2).
        own = x509.load_pem_x509_certificates(self._paths[0].read_bytes())[0]
        self._expires_at_s = own.not_valid_after_utc.timestamp()
        return context
