"""The SMTP load generator of the front door's benchmark. It is a separate process, and the same for
every server.

The process sends messages that comply with the submission rules, each with a different Message-ID
and recipient, over many sessions at once. The process uses TLS and AUTH if the plan requests them.
A message is counted when its 250 arrives. The process has to be cheap, because it shares the
processors with the server. So it uses blocking sockets with one epoll, and generates the bodies
only once. The report contains its CPU time.

The process prints `ready` when all sessions are logged in, and starts to send when it reads a line
from standard input. Before it sends that line, the caller can read the CPU time of the server.

    python -m bench.smtp_load '{"address": ..., see Plan}'   prints a Report as JSON
"""

from __future__ import annotations

import base64
import resource
import select
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from bench.bodies import make_bodies
from bench.measured import percentile
from bench.publisher import Plan as Content
from bench.publisher import make_head

_CONNECT_TIMEOUT_S: Final = 60.0
# A server that sends no reply for this many seconds is considered stuck.
_SILENCE_S: Final = 60.0
_READ_BYTES: Final = 65_536
_CONNECTORS: Final = 32
# Connections use this many addresses of 127/8 in turn, because a server may limit each address.
_SOURCES: Final = 8


class Talk(StrEnum):
    """The modes. The mode decides when a session waits for replies (RFC 2920)."""

    SINGLE = "single"  # Each command waits for its reply, as in smtp-source.
    GROUP = "group"  # MAIL, RCPT and DATA are sent together, then the content.
    AHEAD = "ahead"  # Like GROUP, but the next message's commands directly follow the content.


class Plan(Struct, frozen=True):
    """The mail to send, and the server.

    If `user` is "", there is no TLS and no login. If `rate_per_s` is 0, the rate is not limited.
    """

    address: str
    sending_domain: str
    recipient_domain: str
    sessions: int
    messages: int
    size_bytes: int
    run: str
    talk: Talk = Talk.AHEAD
    user: str = ""
    password: str = ""
    rate_per_s: float = 0.0


class Report(Struct, frozen=True):
    """The times of a run. `seconds` is the time from the first byte to the last 250. A latency is
    the time from the end of the content to the 250."""

    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float


class LoadError(RuntimeError):
    """The server sent an unexpected reply. The text contains the reply."""


def connect(plan: Plan, number: int) -> socket.socket:
    """Open a session that is ready for MAIL. If the plan has a user, log in over TLS."""
    host, _, port = plan.address.rpartition(":")
    source = f"127.0.0.{1 + number % _SOURCES}" if host == "127.0.0.1" else ""
    sock = socket.create_connection((host, int(port)), _CONNECT_TIMEOUT_S, (source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _expect(sock, b"220")
    _ask(sock, b"EHLO load.bench.example", b"250")
    if plan.user:
        _ask(sock, b"STARTTLS", b"220")
        sock = _context().wrap_socket(sock, server_hostname=host)
        _ask(sock, b"EHLO load.bench.example", b"250")
        secret = base64.b64encode(f"\0{plan.user}\0{plan.password}".encode())
        _ask(sock, b"AUTH PLAIN " + secret, b"235")
    return sock


def connect_all(plan: Plan, count: int) -> list[socket.socket]:
    """Open this many sessions in parallel."""
    with ThreadPoolExecutor(_CONNECTORS) as pool:
        return list(pool.map(lambda number: connect(plan, number), range(count)))


def _context() -> ssl.SSLContext:
    # The certificate of the pipeline is self-signed, and a measurement does not need to verify it.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _ask(sock: socket.socket, command: bytes, code: bytes) -> None:
    sock.sendall(command + b"\r\n")
    _expect(sock, code)


def _expect(sock: socket.socket, code: bytes) -> None:
    got = b""
    while not got.endswith(b"\r\n") or got[:-2].rpartition(b"\n")[2][3:4] == b"-":
        data = sock.recv(_READ_BYTES)
        if not data:
            raise LoadError(f"the server disconnected after {got!r}")
        got += data
    if not got.startswith(code):
        raise LoadError(f"expected {code.decode()}, found {got!r}")


# Bytes to send, and the codes of the expected replies.
_Step = tuple[bytes, tuple[bytes, ...]]


class _Session:
    """One connection, and its position in the current message."""

    __slots__ = ("accepts", "got", "next_steps", "sent_at", "sock", "waits")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.got = b""
        self.waits: tuple[bytes, ...] = ()  # The codes of the awaited replies.
        self.accepts = False  # True if the first awaited reply is for the content.
        self.next_steps: list[_Step] = []
        self.sent_at = 0.0

    def send(self, data: bytes, codes: tuple[bytes, ...], accepts: bool) -> None:
        self.waits, self.accepts = codes, accepts
        self.sock.sendall(data)
        self.sent_at = time.perf_counter()

    def take_replies(self) -> bool:
        """Read once, and return True if all awaited replies have arrived. Raises LoadError for any
        other code."""
        data = self.sock.recv(_READ_BYTES)
        if not data:
            raise LoadError(f"the server disconnected; before that it sent {self.got!r}")
        self.got = got = self.got + data
        if got.count(b"\n") < len(self.waits):
            return False
        lines = got.split(b"\r\n")
        for code, line in zip(self.waits, lines, strict=False):
            if line[:4] != code:
                raise LoadError(f"expected {code.decode()}, found {line!r}")
        if len(lines) != len(self.waits) + 1:
            raise LoadError(f"more replies than commands: {got!r}")
        self.got = b""
        return True


_OK: Final = b"250 "
_GO: Final = b"354 "


class Load:
    """A load generator that sends the messages of the plan over its sessions."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._content = Content(
            bootstrap="",
            topic="",
            sending_domain=plan.sending_domain,
            recipient_domain=plan.recipient_domain,
            messages=plan.messages,
            size_bytes=plan.size_bytes,
            run=plan.run,
        )
        self._ends = [body + b".\r\n" for body in make_bodies(plan.size_bytes)]
        self._begun = 0
        self._accepted = 0
        self._taken_ms: list[float] = []
        self._sessions = [_Session(sock) for sock in connect_all(plan, plan.sessions)]

    def run(self) -> Report:
        """Send all messages. Raises LoadError at the first unexpected reply."""
        used_s = _cpu_s()
        started = time.perf_counter()
        self._send_all(started)
        seconds = time.perf_counter() - started
        self._taken_ms.sort()
        return Report(
            round(seconds, 3),
            round(_cpu_s() - used_s, 3),
            round(percentile(self._taken_ms, 0.50), 2),
            round(percentile(self._taken_ms, 0.99), 2),
        )

    def _send_all(self, started: float) -> None:
        poll = select.epoll()
        by_fd = {session.sock.fileno(): session for session in self._sessions}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        idle = list(self._sessions)
        messages, rate = self._plan.messages, self._plan.rate_per_s
        while self._accepted < messages:
            wait_s = _SILENCE_S
            while idle and self._begun < messages:
                if rate:
                    wait_s = max(0.0, self._begun / rate - (time.perf_counter() - started))
                    if wait_s:
                        break
                    wait_s = _SILENCE_S
                self._begin(idle.pop())
            ready = poll.poll(wait_s)
            if not ready and wait_s == _SILENCE_S:
                raise LoadError(f"no reply in {_SILENCE_S:.0f} s")
            for fd, _ in ready:
                session = by_fd[fd]
                if session.take_replies() and self._go_on(session):
                    idle.append(session)
        poll.close()

    def _envelope(self, number: int) -> tuple[bytes, bytes]:
        plan = self._plan
        return (
            f"MAIL FROM:<news@{plan.sending_domain}>\r\n".encode(),
            f"RCPT TO:<ok-{number}@{plan.recipient_domain}>\r\n".encode(),
        )

    def _message(self, number: int) -> bytes:
        return make_head(self._content, number) + self._ends[number % len(self._ends)]

    def _begin(self, session: _Session) -> None:
        number, self._begun = self._begun, self._begun + 1
        mail, rcpt = self._envelope(number)
        content = self._message(number)
        if self._plan.talk is Talk.SINGLE:
            steps: list[_Step] = [(mail, (_OK,)), (rcpt, (_OK,)), (b"DATA\r\n", (_GO,))]
        else:
            steps = [(mail + rcpt + b"DATA\r\n", (_OK, _OK, _GO))]
        session.next_steps = [(content, (_OK,)), *reversed(steps[1:])]
        session.send(*steps[0], accepts=False)

    def _go_on(self, session: _Session) -> bool:
        """Send the next step on a session, or return True if the session is free for another
        message."""
        if session.accepts:
            self._taken_ms.append((time.perf_counter() - session.sent_at) * 1000)
            self._accepted += 1
        if session.next_steps:
            data, codes = session.next_steps.pop()
            is_last = not session.next_steps
            ahead = is_last and self._plan.talk is Talk.AHEAD and not self._plan.rate_per_s
            if ahead and self._begun < self._plan.messages:
                number, self._begun = self._begun, self._begun + 1
                mail, rcpt = self._envelope(number)
                data, codes = data + mail + rcpt + b"DATA\r\n", (*codes, _OK, _OK, _GO)
                content = self._message(number)
                session.next_steps = [(content, (_OK,))]
            session.send(data, codes, accepts=is_last)
            return False
        return True


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Send according to the plan in the first argument."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    try:
        load = Load(plan)
        print("ready", flush=True)
        sys.stdin.readline()
        report = load.run()
    except (LoadError, OSError) as error:
        raise SystemExit(f"smtp_load: {plan.address}: {error}") from None
    print(msgspec.json.encode(report).decode())


if __name__ == "__main__":
    main()
