"""TLS of outbound connections: contexts, certificate checks, and the order of data and errors.

Opportunistic TLS uses the best TLS that both sides support (RFC 7435, 3). It accepts any
certificate. If the server supports nothing better, opportunistic TLS also accepts old versions and
ciphers, because the alternative is clear text. Policies that require TLS keep the defaults of the
ssl module (TLS 1.2 or later).

A server may send its reply to the content and a TLS alert in the same segment. Event loops read all
available records, and they discard the data if the last record is an error. Then the reply would be
lost, and the message would be sent again. So OrderlyObject holds the error back until the loop has
passed on the data, and raises the error at the next read. As long as the loop continues to read, no
error is lost, and no data that follows an error is read. If no read follows, the connection ends
when the transport ends or when the time limit of the next reply is over.

Owns: the contexts, the check of the certificate after the handshake, the order of data and errors,
the offer of a session in a handshake. Does not own: the choice of a policy (core/tls/policy.py),
the sessions (server_memory.py).
"""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from services.deliver.core.attempt.results import NoConnection
from services.deliver.core.routing.candidates import Candidate
from services.deliver.core.tls.dane import dane_fault
from services.deliver.core.tls.policy import DaneKeys, HostTls, PolicyName
from shared.runtime.clock import now_ms
from shared.smtp.remote_text import clean_text

# This list allows RSA key exchange, SHA-1 and Diffie-Hellman groups of 1024 bits. It excludes
# ciphers without encryption or without authentication. Level 0 is set because TLS 1.0 needs SHA-1
# signatures, which level 1 forbids.
_ANY_CIPHER: Final = "DEFAULT:!aNULL:!eNULL:!EXPORT:@SECLEVEL=0"
# SSL_OP_LEGACY_SERVER_CONNECT, for servers older than RFC 5746. The ssl module has this name from
# Python 3.12 on.
_OLD_RENEGOTIATION: Final = 0x4
# Some servers send very long texts. So events contain at most this many characters of the reason
# why TLS was not used.
MAX_FAULT_CHARACTERS: Final = 500
# The most content of one TLS record (RFC 8446, 5.1).
_RECORD_BYTES: Final = 16_384
# _ssl.ENCODING_DER
_DER: Final = 2
# The session that the present task wants to resume when it starts TLS. The session is in a context
# variable because event loops pass only the SSL context to the SSLObject of a connection.
OFFERED: ContextVar[ssl.SSLSession | None] = ContextVar("offered_tls_session", default=None)


class OrderlyObject(ssl.SSLObject):
    """The client side of a TLS connection.

    An error is raised only after the data that precedes it.
    """

    _has_read = False  # True if the previous read returned data
    _held_back: ssl.SSLError | None = None

    def read(self, len: int = 1_024, buffer: Any = None) -> Any:
        """Read as SSLObject does, but return all data before an error is raised."""
        if self._held_back is not None:
            raise self._held_back
        try:
            # A read returns at most one record, but event loops let Python allocate 256 KB.
            data = super().read(min(len, _RECORD_BYTES), buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._has_read = False
            raise
        except ssl.SSLError as error:
            if not self._has_read:
                raise
            self._held_back = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "an error is held back") from None
        self._has_read = True
        return data


class ResumingObject(OrderlyObject):
    """The client side of a TLS connection that offers the session of its task."""

    _has_begun = False

    def do_handshake(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            if (session := OFFERED.get()) is not None:
                self.session = session
        super().do_handshake()


class TlsFault(ssl.SSLError):
    """The TLS of a server violates the policy.

    The text begins with the result type of RFC 8460, 4.3.
    """


class TlsPolicy(Struct, frozen=True):
    """How a connection uses TLS. TLS is used if the server offers it and `context` is not None.

    `fault` is the reason why TLS is not used. If `is_required` is set, no mail is sent without TLS.
    If `is_trial` is set, a violation of the policy is only reported. `check` contains the records
    that the certificate must match.
    """

    context: ssl.SSLContext | None
    fault: str = ""
    name: str = PolicyName.OPPORTUNISTIC
    is_required: bool = False
    is_trial: bool = False
    check: DaneKeys | None = None

    @property
    def resumes(self) -> bool:
        """Return whether a session may be resumed.

        With TLSA records, no session may be resumed. A resumed handshake shows no certificate, and
        the check of the records needs one.
        """
        return self.context is not None and self.check is None

    @property
    def must_encrypt(self) -> bool:
        """Return whether a connection in clear text is a failure."""
        return self.is_required or self.is_trial


def in_clear(fault: str) -> TlsPolicy:
    """Return the policy for a server whose TLS has failed."""
    return TlsPolicy(None, fault)


def _opportunistic() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # TLS 1.0 or later, because the ssl module itself excludes SSL 3.
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers(_ANY_CIPHER)
    context.options |= _OLD_RENEGOTIATION
    context.sslobject_class = ResumingObject
    return context


# RFC 7435: any certificate is better than no encryption.
OPPORTUNISTIC: Final = TlsPolicy(_opportunistic())


def _encrypting() -> ssl.SSLContext:
    """Return a context that accepts any certificate and has the defaults of the ssl module."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = ResumingObject
    return context


class TlsContexts:
    """The contexts of all policies.

    `ca_file` contains CAs that are trusted in addition to the CAs of the system.
    """

    def __init__(self, ca_file: str = "") -> None:
        self.opportunistic = OPPORTUNISTIC
        self._encrypting = _encrypting()
        self.verifying = ssl.create_default_context()
        self.verifying.sslobject_class = ResumingObject
        if ca_file:
            self.verifying.load_verify_locations(ca_file)

    def policy_of(self, tls: HostTls) -> TlsPolicy:
        """Return the policy for these requirements, including the SSL context."""
        if not (tls.is_required or tls.is_trial):
            return self.opportunistic
        is_verified = tls.is_verified and tls.dane is None
        return TlsPolicy(
            self.verifying if is_verified else self._encrypting,
            tls.fault,
            tls.policy,
            tls.is_required,
            tls.is_trial,
            tls.dane if tls.dane is not None and tls.dane.records else None,
        )


def check_tls(policy: TlsPolicy, peer: Any, fault: str) -> None:
    """Check that TLS is used if required, and that the certificate matches the TLSA records.

    `peer` is the ssl object, or None if TLS is not used. `fault` is the reason why TLS is not used.
    Raises TlsFault.
    """
    if peer is None:
        if policy.must_encrypt:
            raise TlsFault(f"starttls-not-supported: {fault or 'STARTTLS is not offered'}")
        return
    if policy.check is None:
        return
    # The ssl module has a public method for the certificates that a server sent, but only from
    # Python 3.13 on.
    sent = peer._sslobj.get_unverified_chain() or ()
    chain = [certificate.public_bytes(_DER) for certificate in sent]
    now = datetime.fromtimestamp(now_ms() / 1_000, UTC)
    if found := dane_fault(chain, policy.check, now):
        raise TlsFault(found)


def named_fault(error: ssl.SSLError) -> str:
    """Return the result type (RFC 8460, 4.3) and the text of a failed handshake."""
    if isinstance(error, TlsFault):
        return str(error.args[0])
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    text = str(cause) or type(cause).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        kinds = {10: "certificate-expired", 62: "certificate-host-mismatch"}
        return f"{kinds.get(cause.verify_code, 'certificate-not-trusted')}: {cause.verify_message}"
    return f"validation-failure: {text}"


def no_tls(candidate: Candidate, policy: TlsPolicy, fault: str) -> NoConnection:
    """Return the result of an attempt to connect to a server whose TLS violates its policy."""
    fault = clean_text(fault)[:MAX_FAULT_CHARACTERS]
    reason = clean_text(f"{candidate}: TLS is not as the policy {policy.name} wants it: {fault}")
    return NoConnection(reason, policy.name, fault)
