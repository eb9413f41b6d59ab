"""Properties of every server session, whatever the client sends and however it is split.

A session read whole and read in pieces gives the same events and the same replies; its memory is
bounded; nothing is raised. The policy depends only on the input, so both runs see the same.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from random import Random
from typing import Final

from msgspec.structs import replace

from shared.smtp.events import (
    Content,
    Data,
    Ended,
    Login,
    ScramFinish,
    ScramStart,
    ServerEvent,
    StartTls,
)
from shared.smtp.extensions import Extensions, all_but_auth
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.session import ServerSession
from shared.smtp.server.states import State
from tests.fuzz.talk_grammar import HEAD_BYTES
from tests.support.scram_client import offer_of

OFFER: Final = offer_of("pw")
MAX_CONTENT_BYTES: Final = 400
_MECHANISMS: Final = ("PLAIN", "LOGIN", "SCRAM-SHA-256")
_FULL: Final = all_but_auth(starttls=True)


def _options(secure: bool, auth: bool, extensions: Extensions) -> ServerOptions:
    return ServerOptions(
        "mx.example",
        extensions,
        max_content_bytes=MAX_CONTENT_BYTES,
        max_recipients=2,
        max_errors=4,
        max_text_line_bytes=1_000,
        auth_mechanisms=_MECHANISMS if auth else (),
        requires_auth=auth and secure,
        is_secure=secure,
        nonce=lambda: "nonce",
    )


OPTIONS: Final = (
    _options(False, False, _FULL),
    _options(False, True, _FULL),
    _options(True, True, _FULL),
    _options(False, False, Extensions()),
)
# Data after STARTTLS waits for the handshake: the reads are always split there.
_TO_STARTTLS: Final = re.compile(rb"(?is).*?STARTTLS[^\n]*(?:\n|$)|.+")


class _Talk:
    """One session with its policy."""

    def __init__(self, head: bytes) -> None:
        self.session = ServerSession(OPTIONS[head[0] % len(OPTIONS)])
        # Half of all policies accept everything, so that sessions reach late states.
        self._policy = Random(head[1]) if head[1] & 1 else None
        self.events: list[ServerEvent] = []
        self.output = b""
        self.session.greet(Reply(220, "", "mx.example ESMTP"))
        self.session.take_output()

    def read(self, data: bytes) -> None:
        self.session.receive(data)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, ScramStart) and not self._refuses():
                self.session.answer_scram(OFFER)
            elif not isinstance(event, Ended):
                self.session.answer(self._answer(event))
        self.output += self.session.take_output()
        if self.session.state is State.TLS:
            self.session.tls_started()
        assert len(self.session._buffer) <= 2 * len(data) + 20_000

    def _refuses(self) -> bool:
        return self._policy is not None and self._policy.random() < 0.3

    def _answer(self, event: ServerEvent) -> Reply:
        if isinstance(event, Content) and event.refusal is not None:
            return event.refusal
        wrong = isinstance(event, ScramFinish) and event.key_index is None
        if wrong or self._refuses():
            code = 421 if self._policy is not None and self._policy.random() < 0.1 else 550
            return Reply(code, "", "no")
        match event:
            case Data():
                return Reply(354, "", "go")
            case StartTls():
                return Reply(220, "", "go")
            case Login() | ScramFinish():
                return Reply(235, "", "in")
            case ScramStart():
                return Reply(535, "", "no")
            case _:
                return Reply(250, "", "ok")


def check_session(data: bytes) -> Hashable:
    """Run one session whole and in pieces."""
    head, talk = data[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"), data[HEAD_BYTES:]
    whole, pieces, injected = _Talk(head), _Talk(head), _Talk(head)
    parts = _TO_STARTTLS.findall(talk)
    for part in parts:
        whole.read(part)
        for piece in cut(part, Random(head[2] + head[3])):
            pieces.read(piece)
    assert pieces.output == whole.output
    assert list(map(_told, pieces.events)) == list(map(_told, whole.events))
    _check_content(whole, talk)
    if len(parts) > 1:
        injected.read(talk)
    codes = tuple(sorted({line[:3] for line in whole.output.split(b"\r\n")}))
    return codes, whole.session.state, tuple(sorted({type(one).__name__ for one in whole.events}))


def _told(event: ServerEvent) -> ServerEvent:
    """The event; refused content is reduced to that fact: the amount held depends on the reads."""
    if isinstance(event, Content) and event.refusal is not None:
        return replace(event, content=b"", size_bytes=0)
    return event


def _check_content(talk: _Talk, said: bytes) -> None:
    lines = said.split(b"\r\n")
    for event in talk.events:
        if isinstance(event, Content):
            assert event.recipients
            if event.refusal is None:
                assert len(event.content) <= MAX_CONTENT_BYTES
                assert b"\n" not in event.content.replace(b"\r\n", b"")
                assert b"\r" not in event.content.replace(b"\r\n", b"")
                assert _was_said(event.content, lines), event
    ends = [at for at, event in enumerate(talk.events) if isinstance(event, Ended)]
    assert not ends or ends == [len(talk.events) - 1]


def _was_said(content: bytes, lines: list[bytes]) -> bool:
    """Whether these lines were sent in sequence, dots stuffed, followed by a single dot."""
    wanted = content.split(b"\r\n")[:-1]
    meant = [line[1:] if line[:1] == b"." and line != b"." else line for line in lines]
    return any(
        lines[at + len(wanted)] == b"." and meant[at : at + len(wanted)] == wanted
        for at in range(len(lines) - len(wanted))
    )


def cut(data: bytes, random: Random) -> Iterator[bytes]:
    """Split the data into pieces of one to forty bytes."""
    longest = random.choice((1, 2, 7, 40))
    at = 0
    while at < len(data):
        size = random.randint(1, longest)
        yield data[at : at + size]
        at += size
