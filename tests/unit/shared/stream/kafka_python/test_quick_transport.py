"""The transports of the Kafka client: fewer calls, the same bytes, states and errors."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.net import selector, transport
from kafka.net.selector import NetworkSelector, Task, TaskState

from shared.stream.kafka_python.quick_transport import (
    READ_BYTES,
    QuickTransport,
    try_before_waiting,
)
from shared.stream.kafka_python.quiet_selector import QuietSelector


class CountingSelector(QuietSelector):
    """Counts how often a socket is registered or forgotten."""

    changes = 0

    def register(self, *arguments: Any) -> Any:
        self.changes += 1
        return super().register(*arguments)

    def unregister(self, *arguments: Any) -> Any:
        self.changes += 1
        return super().unregister(*arguments)


class Recorder:
    """A protocol that keeps what it receives."""

    _sensors = None

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, error: Any) -> None:
        self.lost.append(error)


class Line:
    """A connection on a loop of its own, and the peer's end."""

    def __init__(self, kind: type[Any]) -> None:
        try_before_waiting()
        own, self.peer = socket.socketpair()
        own.setblocking(False)
        self.net = NetworkSelector(selector=CountingSelector)
        self.sock = own
        self.transport = kind(self.net, own)
        self.recorder = Recorder()
        self.transport.set_protocol(self.recorder)
        self.transport.resume_reading()
        self.turn()

    def turn(self, times: int = 3) -> None:
        """Let the loop do what can be done at once."""
        for _ in range(times):
            self.net._poll_once(0)

    @property
    def changes(self) -> int:
        return int(self.net._selector.changes)

    def is_registered(self) -> bool:
        return self.sock in [key.fileobj for key in self.net._selector.get_map().values()]

    def close(self) -> None:
        self.transport.close()
        self.net.close()
        self.peer.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line(QuickTransport)
    yield made
    made.close()


def exchange(line: Line) -> int:
    """Answer three requests; return how often a socket was registered or forgotten."""
    before = line.changes
    for number in range(3):
        line.transport.write(b"request %d" % number)
        line.turn()
        assert line.peer.recv(100) == b"request %d" % number
        line.peer.sendall(b"answer %d" % number)
        line.turn()
    assert b"".join(line.recorder.pieces) == b"answer 0answer 1answer 2"
    return line.changes - before


def test_no_socket_is_registered_for_a_request(line: Line) -> None:
    assert exchange(line) == 0


def test_the_library_registers_one_for_each_read_and_looks_at_it_for_each_write() -> None:
    """If this fails, the library has changed: see whether quick_transport.py can go."""
    line = Line(transport.KafkaTCPTransport)
    try:
        assert exchange(line) > 0
    finally:
        line.close()


@pytest.mark.parametrize("size", [1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES])
def test_what_is_there_is_read_at_once(line: Line, size: int) -> None:
    for one in (line.sock, line.peer):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * READ_BYTES)
    content = bytes(number % 251 for number in range(size))
    line.peer.sendall(content)
    line.turn(1)
    assert line.recorder.pieces == [content]


def test_what_does_not_fit_is_written_when_there_is_room_and_in_order(line: Line) -> None:
    parts = [bytes([number]) * 400_000 for number in range(5)]
    for part in parts:
        line.transport.write(part)
    received = b""
    while len(received) < sum(map(len, parts)):
        line.turn()
        received += line.peer.recv(1 << 20)
    assert received == b"".join(parts)
    line.peer.sendall(b"still read")
    line.turn()
    assert line.recorder.pieces == [b"still read"]


@pytest.mark.parametrize("waits_to_write", [False, True])
def test_a_closed_connection_leaves_no_socket_registered(
    line: Line, *, waits_to_write: bool
) -> None:
    if waits_to_write:
        line.transport.write(bytes(4_000_000))
        line.turn()
    assert line.is_registered()
    line.transport.abort(OSError("gone"))
    line.turn()
    assert not line.is_registered()
    assert [str(error) for error in line.recorder.lost] == ["gone"]


def test_a_cancelled_read_leaves_no_socket_registered(line: Line) -> None:
    line.net.cancel(line.transport._read_task)
    assert not line.is_registered()


class Records(logging.Handler):
    """Keeps what the library's transport logs."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    handler, log = Records(), logging.getLogger("kafka.net.transport")
    log.addHandler(handler)
    yield handler.kept
    log.removeHandler(handler)


@pytest.mark.parametrize("last", [b"", b"last words"])
def test_the_peers_end_is_reported_once(
    line: Line, last: bytes, said: list[logging.LogRecord]
) -> None:
    line.peer.sendall(last)
    line.peer.close()
    line.turn()
    assert b"".join(line.recorder.pieces) == last
    assert len(line.recorder.lost) == 1
    assert "socket disconnected" in str(line.recorder.lost[0])
    assert "socket disconnected" in said[0].getMessage()


def test_a_fault_of_the_socket_is_reported_with_its_exception(
    line: Line, said: list[logging.LogRecord]
) -> None:
    def reset(_size: int) -> bytes:
        raise ConnectionResetError("reset by peer")

    broken = SimpleNamespace(recv=reset, getpeername=lambda: ("broker", 9092))
    broken.getsockname = broken.getpeername
    other = QuickTransport(line.net, broken)
    data, error = other._sock_recv()
    assert data == b""
    assert isinstance(error.args[0], ConnectionResetError)
    assert said[0].exc_info is not None


async def _coroutine() -> str:
    return "coroutine"


def _function() -> str:
    return "function"


class _Bound:
    def method(self) -> str:
        return "method"

    async def later(self) -> str:
        return "later"

    def __call__(self) -> str:
        return "object"


@pytest.mark.parametrize(
    ("callback", "result"),
    [
        (_coroutine, "coroutine"),
        (_function, None),
        (_Bound().method, None),
        (_Bound().later, "later"),
        (lambda: "lambda", None),
    ],
)
def test_each_kind_of_callback_runs_as_it_did(callback: Any, result: str | None) -> None:
    try_before_waiting()
    task = Task(callback)
    net = NetworkSelector(selector=QuietSelector)
    try:
        net.call_soon(task)
        for _ in range(3):
            net._poll_once(0)
        assert task.state is TaskState.DONE or task._stack is not None
        assert task._res == result
    finally:
        net.close()


def test_what_cannot_run_is_refused_as_before() -> None:
    try_before_waiting()
    with pytest.raises(TypeError, match="Generator or coroutine not found"):
        selector._initialize_coro(_Bound())
