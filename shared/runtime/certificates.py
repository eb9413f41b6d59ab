"""The certificate of a server, reloaded when its files change.

Promises: a new certificate holds for every handshake begun after the change, without a
restart; while the files are missing or do not fit together (they are replaced one after the
other) the old one stays in force, and that is logged once per fault, however many connections come.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from shared.runtime.errors import UsageError

log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int, int]
# Forward secrecy and TLS 1.2 at least (RFC 8996, RFC 9325).
_OLDEST: Final = ssl.TLSVersion.TLSv1_2


class Certificates:
    """The TLS context of a certificate file and its key file, both PEM."""

    def __init__(self, certificate: str, key: str, settings: str) -> None:
        """`settings` names the files' settings. Raises UsageError if they cannot be used."""
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
        """Take up changed files; looks at their times only when nothing changed."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # What was read is not read again before it changes, even if it is no good.
            self._stamp = stamp
            self.context = self._load()
        except (ssl.SSLError, ValueError) as error:
            self._report(str(error))
        except OSError as error:
            self._stamp = None  # it says nothing about the files: load them again
            self._report(str(error))
        else:
            self._fault = ""
            log.info("certificate reloaded", extra={"file": str(self._paths[0])})

    def expires_at_s(self) -> float:
        """Unix time at which the certificate in force expires. May be called in another thread."""
        self.refresh()
        return self._expires_at_s

    def serve_on(self, context: ssl.SSLContext) -> None:
        """Let each handshake on this context take the certificate of that moment."""

        def choose(handshake: Any, _name: str | None, _context: ssl.SSLContext) -> None:
            self.refresh()
            handshake.context = self.context

        context.sni_callback = choose  # called without a server name, too

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
        # The first is the server's own (RFC 8446, 4.4.2).
        own = x509.load_pem_x509_certificates(self._paths[0].read_bytes())[0]
        self._expires_at_s = own.not_valid_after_utc.timestamp()
        return context
