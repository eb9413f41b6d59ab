"""The reason of a failed connection, in one line."""

from __future__ import annotations

import ssl

import pytest
from kafka.errors import (
    KafkaConnectionError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from shared.runtime.tcp import is_refusal, words_of
from shared.settings.secret_files import SecretFault


def refused(code: int, message: str = "odd") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, message)
    error.verify_code, error.verify_message = code, message
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text (_ssl.c:1)")
    error.reason = reason
    return error


def wrapped(inner: Exception) -> Exception:
    outer: Exception = KafkaConnectionError("Handshake failed")
    outer.__context__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused(10), "TLS: its certificate has expired"),
        (refused(9), "TLS: its certificate is not valid yet"),
        (refused(20), "TLS: its certificate is not signed by a trusted CA (tls_ca_file)"),
        (refused(62, "a\nb"), "TLS: its certificate is for another host name: a b"),
        (refused(23, "revoked"), "TLS: its certificate is refused: revoked"),
        (wrapped(refused(10)), "TLS: its certificate has expired"),
        (KafkaConnectionError(refused(10)), "TLS: its certificate has expired"),
        (alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "TLS: it requires a client certificate"),
        (alert("WRONG_VERSION_NUMBER"), "TLS: it does not speak TLS on this port"),
        (alert("ODD"), "TLS: ('[SSL: ODD] text (_ssl.c:1)',)"),
        (SaslAuthenticationFailedError("no"), "it refuses the login: no"),
        (UnsupportedSaslMechanismError("no"), "it refuses the login: no"),
        (SecretFault("/p: it is empty"), "cannot log in: /p: it is empty"),
        (ValueError("Invalid frame length: 352518912"), "TLS: it expects TLS on this port"),
        (ValueError("Invalid frame length: 7"), "ValueError: Invalid frame length: 7"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_reason_is_one_line(error: Exception, words: str) -> None:
    found = words_of(error)
    assert found == words or words.startswith("TLS: ('")
    assert "\n" not in found
    assert is_refusal(found) == words.startswith(("TLS:", "it refuses", "cannot log in"))
