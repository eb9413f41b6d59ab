"""Delivers the last answer of a broker that closes the connection right after the answer.

Written for kafka-python 3.0.12. If this library reads an answer together with the end of the
connection, it discards the answer. A broker closes the connection right after it has refused a
login, so on a busy machine the reason ("wrong password") is lost. Here the answer is delivered
first. Then the end of the connection is read again.

This module can be removed when the library's transports deliver data that arrived together with an
error; tests/unit/shared/stream/kafka_python/test_last_words.py checks this.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

_KINDS: Final = (KafkaTCPTransport, KafkaSSLTransport)


def keep_last_words() -> None:
    """Change the library's transports in this process. May be called repeatedly."""
    for kind in _KINDS:
        receive = kind.__dict__["_sock_recv"]
        if getattr(receive, "keeps_last_words", False):
            continue

        def keeping(self: Any, receive: Any = receive) -> tuple[bytes, Any]:
            data, error = receive(self)
            return (data, None) if data else (data, error)

        keeping.keeps_last_words = True  # type: ignore[attr-defined]
        kind._sock_recv = keeping
