"""Which errors of kafka-python become warnings, and which stay errors with their traceback."""

from __future__ import annotations

import errno
import inspect
import logging
import ssl

import pytest
from kafka.errors import (
    Cancelled,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaProtocolError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
)
from kafka.net import transport

from shared.stream.kafka_python.lost_connections import (
    LOGGERS,
    LostConnections,
    soften_lost_connections,
)

TRANSPORT = "kafka.net.transport"
RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
REFUSED = KafkaConnectionError("111 ECONNREFUSED")


def record_of(
    message: str, *args: object, raised: BaseException | None = None, level: int = logging.ERROR
) -> logging.LogRecord:
    info = None if raised is None else (type(raised), raised, raised.__traceback__)
    return logging.LogRecord(TRANSPORT, level, __file__, 1, message, args, info)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (
            record_of("%s: Error receiving network data closing socket", "<T>", raised=RESET),
            "<T>: Error receiving network data closing socket: ConnectionResetError: [Errno 104]"
            " Connection reset by peer",
        ),
        (
            record_of("%s: Error sending request data: %s", "<T>", RESET, raised=RESET),
            "<T>: Error sending request data: [Errno 104] Connection reset by peer",
        ),
        (record_of("%s: socket disconnected", "<T>"), "<T>: socket disconnected"),
        (record_of("Connection failed: %s", REFUSED), f"Connection failed: {REFUSED}"),
        (record_of("%s: Abort (%s)", "<T>", KafkaConnectionError(RESET)), ""),
        (record_of("Bootstrap failed: %s", KafkaTimeoutError("no")), ""),
        (record_of("Error sending %s to node %s [%s]", "Join", 1, NodeNotReadyError("1")), ""),
        (record_of("Metadata refresh: failed %s", RequestTimedOutError("no")), ""),
        (record_of("Metadata refresh: failed %s", Cancelled()), ""),
        (record_of("%s: lost: %s", "<T>", KafkaConnectionError(ssl.SSLError(1, "bad"))), ""),
        (record_of("%s: Abort (%s)", "<T>", SaslAuthenticationFailedError("no")), ""),
    ],
)
def test_a_lost_connection_is_a_warning_of_one_line(record: logging.LogRecord, text: str) -> None:
    assert LostConnections().filter(record)
    assert (record.levelno, record.levelname, record.exc_info) == (30, "WARNING", None)
    assert record.getMessage() == text or not text
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    "record",
    [
        record_of("%s: Error receiving network data closing socket", "<T>", raised=KeyError("x")),
        record_of("%s: x: %s", "<T>", OSError(errno.EBADF, "Bad file descriptor")),
        record_of("%s: Connection lost: %s", "<T>", KafkaConnectionError(KeyError("x"))),
        record_of("Heartbeat failed: %s", GroupAuthorizationFailedError("no")),
        record_of("Connection failed: %s", KafkaProtocolError("odd")),
        record_of("%s: Uncaught error in kafka producer I/O thread", "<P>", raised=RESET),
        record_of("Topic %s is not authorized for this client", "t"),
    ],
)
def test_every_other_error_stays_an_error_with_its_traceback(record: logging.LogRecord) -> None:
    before = dict(vars(record))
    assert LostConnections().filter(record)
    assert vars(record) == before


def test_a_record_of_another_level_is_not_changed() -> None:
    record = record_of("x: %s", REFUSED, level=logging.CRITICAL)
    assert LostConnections().filter(record)
    assert record.levelno == logging.CRITICAL


def test_a_warning_is_not_logged_if_only_errors_are() -> None:
    log = logging.getLogger(TRANSPORT)
    before = log.level
    try:
        log.setLevel(logging.ERROR)
        assert not LostConnections().filter(record_of("Connection failed: %s", REFUSED))
    finally:
        log.setLevel(before)


def test_each_log_is_filtered_once() -> None:
    soften_lost_connections()
    soften_lost_connections()
    for name in LOGGERS:
        filters = logging.getLogger(name).filters
        assert sum(isinstance(each, LostConnections) for each in filters) == 1, name


def test_kafka_python_still_logs_a_lost_connection_with_a_traceback() -> None:
    # If this fails, kafka-python has changed its logging: the filter may have become needless.
    source = inspect.getsource(transport)
    assert "log.exception('%s: Error receiving network data'" in source
    assert "log.error('%s: socket disconnected', self)" in source
