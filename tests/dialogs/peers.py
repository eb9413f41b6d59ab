"""The two servers for a dialog: a bare ServerSession, and the real front door.

The session gets the input of the script, split in one of three ways; its policy is that of the
front door for one client: its password, its sending domain, the rules. The front door is tested
over real sockets and real TLS.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final, Protocol

from msgspec.structs import replace

from services.ingest.core.front_door.policy import judge_recipient, judge_sender
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import (
    Content,
    Data,
    Ended,
    Hello,
    Login,
    Mail,
    Recipient,
    ScramFinish,
    ScramStart,
    ServerEvent,
    StartTls,
)
from shared.smtp.extensions import all_but_auth
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.sasl import ScramOffer
from shared.smtp.server.session import ServerSession
from shared.smtp.server.states import State
from shared.submission import rules
from tests.dialogs.script import DOMAIN, NAME, PASSWORD
from tests.support.patience import PATIENCE_S
from tests.support.scram_client import offer_of
from tests.support.smtp_reading import Cut

CLIENT: Final = Client(NAME, DOMAIN, "back@door.example.org", "dialog-mailing")
OPTIONS: Final = ServerOptions(
    host="mx.sluice.example",
    extensions=all_but_auth(starttls=True),
    max_text_line_bytes=1_000,
    auth_mechanisms=("SCRAM-SHA-256", "PLAIN", "LOGIN"),
    requires_auth=True,
    nonce=lambda: "3rfcNHYJY1ZVvWVs7j",
)
_OFFERS: Final[dict[str, ScramOffer]] = {NAME: offer_of(PASSWORD)}
_TAKEN: Final = "Ok: queued as"


class Peer(Protocol):
    """The server, as seen by the client."""

    accepted: int  # messages answered with 250

    def send(self, data: bytes) -> None: ...
    def send_past_tls(self, data: bytes) -> None: ...
    def reply(self) -> str:
        """Return the next reply, its lines joined; AssertionError if there is none."""
        ...

    def start_tls(self) -> bool: ...
    def rest(self) -> tuple[str, bool]:
        """Return the remaining replies, and whether the server has disconnected."""
        ...

    def close(self) -> None: ...


def take_reply(output: bytearray) -> str | None:
    """Remove and return the first complete reply."""
    lines: list[str] = []
    at = 0
    while (end := output.find(b"\r\n", at)) >= 0:
        line = output[at:end].decode()
        at = end + 2
        lines.append(line[4:] if lines else line.replace("-", " ", 1) if line[3] == "-" else line)
        if line[3:4] != "-":
            del output[:at]
            return " / ".join(lines)
    return None


def at_line_ends(data: bytes) -> Iterator[bytes]:
    """Split each CRLF: the worst position for a read to end."""
    yield from re.split(rb"(?<=\r)(?=\n)", data)


class SessionPeer:
    """A ServerSession without sockets."""

    def __init__(self, cut: Cut, is_greeted: bool, is_secure: bool) -> None:
        self._cut = cut
        self._session = ServerSession(replace(OPTIONS, is_secure=is_secure))
        self._output = bytearray()
        self._has_ended = False
        self._is_greeted = False
        self.accepted = 0
        if is_greeted:
            self._greet()

    def _greet(self) -> None:
        self._is_greeted = True
        self._session.greet(Reply(220, "", "mx.sluice.example ESMTP Sluice"))
        self._run()

    def send(self, data: bytes) -> None:
        for part in self._cut(data):
            self._session.receive(part)
            if self._is_greeted:
                self._run()

    def send_past_tls(self, data: bytes) -> None:
        raise AssertionError("a session knows nothing of TLS: say `only: door`")

    def reply(self) -> str:
        if not self._is_greeted:
            self._greet()
        found = take_reply(self._output)
        assert found is not None, "no reply"
        return found

    def start_tls(self) -> bool:
        try:
            self._session.tls_started()
        except LocalProtocolError:
            self._has_ended = True
            return False
        return True

    def rest(self) -> tuple[str, bool]:
        return self._output.decode(), self._has_ended

    def close(self) -> None:
        """Nothing is open."""

    def _run(self) -> None:
        session = self._session
        while (event := session.next_event()) is not None:
            if isinstance(event, Ended):
                self._has_ended = True
            elif isinstance(event, ScramStart):
                session.answer_scram(_OFFERS.get(event.username, offer_of()))
            else:
                session.answer(self._decide(event))
        self._output += session.take_output()
        assert session.state is not State.CLOSED or self._has_ended

    def _decide(self, event: ServerEvent) -> Reply:
        match event:
            case Mail(sender=sender):
                return judge_sender(CLIENT, sender) or Reply(250, "2.1.0", "Ok")
            case Recipient(address=address, taken=taken):
                return judge_recipient(address, taken) or Reply(250, "2.1.5", "Ok")
            case Content():
                return self._judge(event)
            case Login(username=name, password=password):
                is_right = (name, password) == (NAME, PASSWORD)
            case ScramFinish(key_index=index):
                is_right = index is not None
            case Hello():
                return Reply(250)
            case Data():
                return Reply(354, "", "Go on")
            case StartTls():
                return Reply(220, "2.0.0", "Ready to start TLS")
            case _:
                raise AssertionError(event)
        return Reply(235, "2.7.0", "Ok") if is_right else Reply(535, "5.7.8", "Wrong")

    def _judge(self, event: Content) -> Reply:
        if event.refusal is not None:
            return event.refusal
        submission = rules.Submission(DOMAIN, event.sender, event.recipients[0], frozenset())
        if broken := rules.judge(scan(event.content), submission):
            return Reply(550, broken[0].status, "\n".join(one.rule for one in broken))
        self.accepted += 1
        return Reply(250, "2.0.0", f"{_TAKEN} {self.accepted:026}")


class DoorPeer:
    """A connection to a running front door, from its own address of 127/8."""

    def __init__(self, port: int, source: str, context: ssl.SSLContext, is_secure: bool) -> None:
        self._context = context
        self._output = bytearray()
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted = 0
        if is_secure:
            assert self.start_tls()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it may have disconnected; its replies show that
            self._socket.sendall(data)

    def send_past_tls(self, data: bytes) -> None:
        os.write(self._socket.fileno(), data)

    def reply(self) -> str:
        while (found := take_reply(self._output)) is None:
            assert self._read(), f"it hung up; before that it said {bytes(self._output)!r}"
        if _TAKEN in found:
            self.accepted += 1
        return found

    def start_tls(self) -> bool:
        try:
            self._socket = self._context.wrap_socket(self._socket)
        except OSError:
            return False
        return True

    def rest(self) -> tuple[str, bool]:
        try:
            while self._read():
                pass
        except TimeoutError:
            return self._output.decode(), False
        return self._output.decode(), True

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> bool:
        """Read once; return False if the server has disconnected."""
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            raise
        except OSError:  # a reset, or a TLS alert
            return False
        self._output += data
        return bool(data)
