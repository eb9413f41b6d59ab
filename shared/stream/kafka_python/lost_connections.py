"""Logs a lost or refused connection to a broker as a one-line warning.

kafka-python 3.0.12 logs such a connection as an error, in up to ten places, and with a traceback if
the socket was reset. So a broker restart looks like a fault of the program. In fact the client
reconnects by itself, and the broker probe (shared/stream/reachability.py) reports a long outage.

This module owns the decision which log records report a lost connection. A log record is changed
only if its exception means that a broker is unreachable, or that a TLS handshake or a login was
refused. All other log records, such as refused authorisations and faults of the protocol or the
program, stay errors with their traceback. No log record is dropped, unless the log level is above
warning. This module can be removed when kafka-python itself logs warnings;
tests/unit/shared/stream/kafka_python/test_lost_connections.py checks this.
"""

from __future__ import annotations

import errno
import logging
import ssl
from typing import Final

from kafka.errors import (
    Cancelled,
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from shared.settings.secret_files import SecretFault

# The loggers for connections and their traffic. kafka.net.selector is not included, because its
# errors are crashes. The loggers for calls of the application are not included either.
LOGGERS: Final = (
    "kafka.net.transport",
    "kafka.net.connection",
    "kafka.net.manager",
    "kafka.cluster",
    "kafka.coordinator",
    "kafka.coordinator.heartbeat",
    "kafka.coordinator.consumer",
    "kafka.consumer.fetcher",
    "kafka.producer.sender",
    "kafka.producer.transaction_manager",
)
_LOST: Final = frozenset(
    {
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ENOTCONN),
        *(errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH),
    }
)
# Errors of waiting requests. Cancelled means that the connection was closed while the request
# waited.
_WAITING: Final = (Cancelled, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError)
_REFUSED: Final = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, SecretFault)
# The broker has closed the connection. This is the only log line of its kind without an exception.
_CLOSED: Final = "%s: socket disconnected"
# A log record with this word always reports a crash, even if its exception is a lost connection.
_CRASH: Final = "Uncaught"


class LostConnections(logging.Filter):
    """Turns errors about lost connections into warnings without a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the log record. Return False if its new level is not logged."""
        if record.levelno != logging.ERROR or _CRASH in str(record.msg):
            return True
        cause = _exception_of(record)
        if not (is_lost_connection(cause) if cause is not None else record.msg == _CLOSED):
            return True
        text = record.getMessage()
        if record.exc_info and cause is not None and str(cause) not in text:
            text = f"{text}: {type(cause).__name__}: {cause}"
        record.msg, record.args = text, ()
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return logging.getLogger(record.name).isEnabledFor(logging.WARNING)


_FILTER: Final = LostConnections()


def soften_lost_connections() -> None:
    """Filter the logs of this process's Kafka clients. May be called repeatedly."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)


def is_lost_connection(error: BaseException) -> bool:
    """Return True if the cause is an unreachable or restarting broker, or a refused login."""
    if isinstance(error, KafkaConnectionError):
        # KafkaConnectionError can wrap any exception of the socket.
        inner = error.args[0] if error.args else None
        return not isinstance(inner, BaseException) or is_lost_connection(inner)
    if isinstance(error, ssl.SSLError):
        return True
    if isinstance(error, OSError):
        return error.errno in _LOST
    return isinstance(error, _WAITING + _REFUSED)


def _exception_of(record: logging.LogRecord) -> BaseException | None:
    if record.exc_info and record.exc_info[1] is not None:
        return record.exc_info[1]
    args = record.args if isinstance(record.args, tuple) else ()
    return next((each for each in reversed(args) if isinstance(each, BaseException)), None)
