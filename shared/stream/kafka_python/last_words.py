"""Delivers the last answer of a broker that then closes the connection.

Written for kafka-python 3.0.12, which discards an answer if it reads the answer together with the
end of the connection. A broker closes the connection right after it has refused a login, so on a
busy machine the reason ("wrong password") gets lost. Here the answer is delivered first; the end is
read again right after it.

It can go when the transports deliver data that came with an error;
tests/unit/shared/stream/kafka_python/test_last_words.py looks for it.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

_KINDS: Final = (KafkaTCPTransport, KafkaSSLTransport)


def keep_last_words() -> None:
    """Change the transports of this process; may be called again."""
    for kind in _KINDS:
        receive = kind.__dict__["_sock_recv"]
        if getattr(receive, "keeps_last_words", False):
            continue

        def keeping(self: Any, receive: Any = receive) -> tuple[bytes, Any]:
            data, error = receive(self)
            return (data, None) if data else (data, error)

        keeping.keeps_last_words = True  # type: ignore[attr-defined]
        kind._sock_recv = keeping
