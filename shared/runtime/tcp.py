"""Listens on TCP addresses, tests whether a server answers, and explains failed connections.

This module owns the sentence that explains why a broker or Redis cannot be used: a fault of TLS, a
refused login, or no connection. The sentence is one line and never contains a password or a token.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

_MAX_DEPTH: Final = 10  # the levels of nested errors to search
_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_WRONG_NAME: Final = (62, 64)  # the codes for a host name and for an IP address
_UNTRUSTED: Final = (7, 18, 19, 20, 21)

# Maps OpenSSL's reason to the meaning of a TLS alert from the other side (RFC 8446, 6.2).
_ALERTS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses the TLS handshake (is a client certificate"
    " missing?)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses the client certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses the client certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that the client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it says that the client certificate is revoked",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the client certificate's CA",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection during the TLS handshake",
}
_TLS: Final = "TLS: "
# Prefixes that kafka-python adds to the broker's error text.
_PREFIXES: Final = re.compile(r"^(?:\[Error \d+\] |\w+Error: )+")
_LOGIN: Final = ("it refuses the login: ", "cannot log in: ")
# If a broker answers a client without TLS with a TLS alert, kafka-python reads the first bytes of
# the alert (RFC 8446, 5.1: type 21, version 3.x) as the length of a Kafka response.
_ALERT_AS_LENGTH: Final = re.compile(r"Invalid frame length: (\d+)")
_ALERT_TOP: Final = 0x1503


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on this host name or IP address; `::` includes IPv4.

    Raises OSError if the address cannot be used.
    """
    if ":" not in host:
        return socket.create_server((host, port))
    is_dual = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=is_dual)


def in_url(host: str) -> str:
    """Return the host as written in a URL, where an IPv6 address is in brackets."""
    return f"[{host}]" if ":" in host else host


def answers(address: str, timeout_s: float = 0.5) -> bool:
    """Return whether a server accepts connections at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s):
            return True
    except (OSError, ValueError):
        return False


def is_refusal(words: str) -> bool:
    """Return True if this text reports a fault of TLS or login, not a missing connection."""
    return words.startswith((_TLS, *_LOGIN))


def words_of(error: BaseException) -> str:
    """Return the reason why a connection failed. A TLS fault is found even in nested errors."""
    return _words(_tls_error(error) or error)


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    found: BaseException | None = error
    for _ in range(_MAX_DEPTH):
        if found is None or isinstance(found, ssl.SSLError):
            return found
        inner = found.args[0] if found.args and isinstance(found.args[0], BaseException) else None
        found = inner or found.__cause__ or found.__context__
    return None


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error)
    if isinstance(error, ssl.SSLError):
        return f"TLS: {_ALERTS.get(error.reason or '', _one_line(error))}"
    name, text = type(error).__name__, _one_line(error)
    if name in ("SaslAuthenticationFailedError", "UnsupportedSaslMechanismError"):
        return _LOGIN[0] + _PREFIXES.sub("", text)
    if name in ("SecretFault", "TokenFault"):
        return _LOGIN[1] + text
    length = _ALERT_AS_LENGTH.search(text)
    if length and int(length[1]) >> 16 == _ALERT_TOP:
        return f"{_TLS}it expects TLS on this port"
    return text if name in text or not text else f"{name}: {text}"


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "TLS: its certificate has expired"
    if code == _NOT_YET_VALID:
        return "TLS: its certificate is not valid yet"
    if code in _WRONG_NAME:
        return f"TLS: its certificate is for another host name: {_text(error.verify_message)}"
    if code in _UNTRUSTED:
        return "TLS: its certificate is not signed by a trusted CA (tls_ca_file)"
    return f"TLS: its certificate is refused: {_text(error.verify_message)}"


def _one_line(error: BaseException) -> str:
    return _text(str(error)) or type(error).__name__


def _text(text: str) -> str:
    return " ".join(text.split())[:300]
