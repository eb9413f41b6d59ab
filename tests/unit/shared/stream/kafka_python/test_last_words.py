"""What came with the end of a connection is handed over."""

from __future__ import annotations

import inspect

from kafka.net import transport

from shared.stream.kafka_python.last_words import keep_last_words


def test_an_answer_that_comes_with_the_end_is_kept_and_then_the_end_is_seen() -> None:
    keep_last_words()
    keep_last_words()

    class Socket:
        parts = [b"an answer", b"", b""]  # noqa: RUF012

        def recv(self, _size: int) -> bytes:
            return self.parts.pop(0)

    class Transport(transport.KafkaTCPTransport):  # type: ignore[misc]
        def __init__(self) -> None:
            self.__dict__["_sock"] = Socket()

        def __str__(self) -> str:
            return "<T>"

    one = Transport()
    receive = transport.KafkaTCPTransport.__dict__["_sock_recv"]
    assert receive(one) == (b"an answer", None)
    data, error = receive(one)
    assert data == b""
    assert error is not None


def test_kafka_python_still_throws_such_an_answer_away() -> None:
    # If this fails, the workaround may have become needless.
    source = inspect.getsource(transport.KafkaTCPTransport._read_from_sock)
    assert "if err:\n                return self.abort(error=err)" in source
