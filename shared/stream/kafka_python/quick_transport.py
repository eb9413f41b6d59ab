"""Reduces the work of the client's I/O loop per request: waits, system calls, look-ups.

Written for kafka-python 3.0.12. Each request and each answer passes through the I/O loop of the
client. This loop does unnecessary work:

- The loop waits before each write, although a socket can almost always be written to: it registers
  the socket, selects, and unregisters the socket. Here writing is tried first, without a wait.
- The loop registers and unregisters a socket for each read. Here the socket stays registered while
  it is read.
- The loop reads 4 KB at a time, and once more to find that nothing is left, so a fetch of 1 MB
  takes 257 system calls. Here a connection without TLS is read 64 KB at a time, until fewer bytes
  arrive.
- The loop determines the kind of a callback by four look-ups, each of which unwraps the callback,
  and sends seven log lines to a level that is not in use. Here the flags of the function are read
  once, and the log lines are formatted only if that level is in use.

The bytes, their order, the states of tasks and the errors are the same as in the library. A
cancelled task leaves no socket registered. A TLS connection is read as in the library, because
bytes that remain inside the TLS layer are not visible from outside.

This module can be removed when the library tries to read and write before it waits
(tests/unit/shared/stream/kafka_python/test_quick_transport.py counts the calls).
"""

from __future__ import annotations

import inspect
import logging
import selectors
import socket
from contextlib import suppress
from types import CoroutineType, FunctionType, GeneratorType, MethodType
from typing import Any, Final

import kafka.errors
from kafka.net import manager, selector
from kafka.net.selector import KernelEvent, NetworkSelector, TaskState
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from shared.runtime.clock import monotonic

READ_BYTES: Final = 65_536
_TRACE_LEVEL: Final = 5
_RUNS_LATER: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE

# The names must be those of the library's loggers, because lost_connections.py filters by name.
_transport_log: Final = logging.getLogger("kafka.net.transport")
_selector_log: Final = logging.getLogger("kafka.net.selector")
_initialize: Final = selector._initialize_coro


class _TryingFirst(KafkaTCPTransport):  # type: ignore[misc]
    """A transport that writes before it waits. Its socket stays registered while it reads."""

    async def _read_from_sock(self) -> None:
        sock, is_first = self._sock, True
        try:
            while self._read and not self._closed:
                await KernelEvent(_wait_to_read.__name__, sock, is_first)
                is_first = False
                data, error = self._sock_recv()
                if error:
                    self.abort(error=error)
                    return
                self.last_read = monotonic()
                try:
                    self._protocol.data_received(data)
                except kafka.errors.KafkaProtocolError as fault:
                    self.abort(error=fault)
                    return
        finally:
            self._net.unregister_event(sock, selectors.EVENT_READ)

    async def _write_to_sock(self) -> None:
        try:
            while self._write_buffer:
                _, error = self._sock_send()
                if error:
                    self.abort(error=error)
                    return
                self.last_write = monotonic()
                if self._write_buffer:
                    await self._net.wait_write(self._sock)
        finally:
            self._writing = False
        if self._closed:
            self._close()
        elif not self._write:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)


class QuickTransport(_TryingFirst):
    """A connection without TLS, which is read in large pieces."""

    def _sock_recv(self) -> tuple[bytes, Any]:
        parts: list[bytes] = []
        try:
            while len(part := self._sock.recv(READ_BYTES)) == READ_BYTES:
                parts.append(part)
        except BlockingIOError:
            part = b""
        except BaseException as error:
            _transport_log.exception("%s: Error receiving network data closing socket", self)
            return b"".join(parts), kafka.errors.KafkaConnectionError(error)
        else:
            if not part:
                _transport_log.error("%s: socket disconnected", self)
                reason = kafka.errors.KafkaConnectionError("socket disconnected")
                return b"".join(parts), reason
        return b"".join((*parts, part)) if parts else part, None


class QuickTlsTransport(_TryingFirst, KafkaSSLTransport):  # type: ignore[misc]
    """A connection with TLS."""


def _wait_to_read(self: NetworkSelector, sock: Any, is_first: bool) -> None:
    """Suspend the current task until there is something to read. The socket stays registered."""
    if is_first:
        self.register_event(sock, selectors.EVENT_READ, self._current)
    self._current.state = TaskState.WAIT_IO


def _initialize_quickly(callback: Any) -> Any:
    """Return the coroutine or call that a task runs. The library uses four look-ups for this."""
    kind = type(callback)
    if kind is CoroutineType or kind is GeneratorType:
        return callback
    if kind is FunctionType or kind is MethodType:
        if callback.__code__.co_flags & _RUNS_LATER:
            return callback
        return selector.yield_callback(callback)
    return _initialize(callback)


def _no_trace(*_arguments: object, **_options: object) -> None:
    """Log nothing."""


def try_before_waiting() -> None:
    """Let the Kafka clients of this process use these transports. May be called repeatedly."""
    NetworkSelector._wait_to_read = _wait_to_read
    selector._initialize_coro = _initialize_quickly
    if not _selector_log.isEnabledFor(_TRACE_LEVEL):
        selector.log_trace = _no_trace
    manager.KafkaTCPTransport = QuickTransport
    manager.KafkaSSLTransport = QuickTlsTransport
