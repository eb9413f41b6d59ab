"""What must hold for every session of the client, whatever the server answers.

Nothing but RemoteProtocolError is raised. Answers read whole, where they are not out of step,
give the same events in pieces. A transaction is accepted only by a positive answer to content
that was sent.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from random import Random
from typing import Final

from shared.smtp.client import ClientSession
from shared.smtp.errors import RemoteProtocolError
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import Extensions
from tests.fuzz.server_target import cut
from tests.fuzz.talk_grammar import HEAD_BYTES

_MESSAGE: Final = ("a@b.example", "c@d.example", "Subject: ü\r\n\r\n.x\r\n".encode())
_EXTENSIONS: Final = (
    Extensions(),
    Extensions(pipelining=True),
    Extensions(pipelining=True, size=True, eight_bit_mime=True, smtputf8=True),
)
# A transaction begins before each part, so both ways begin it at the same place.
_AFTER_DONE: Final = re.compile(rb"(?<= done\r\n)")


def check_answers(data: bytes) -> Hashable:
    """Hold one session, whole and in pieces."""
    head, answers = data[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"), data[HEAD_BYTES:]
    extensions = _EXTENSIONS[head[0] % len(_EXTENSIONS)]
    parts = _AFTER_DONE.split(answers)
    random = Random(head[2] + head[3])
    whole, whole_fault = _talk(extensions, [[part] for part in parts])
    pieces, pieces_fault = _talk(extensions, [cut(part, random) for part in parts])
    if not whole_fault:
        assert pieces == whole
    stages = tuple((one.stage, one.reply.code) for one in pieces if isinstance(one, Finished))
    return head[0] % len(_EXTENSIONS), stages[:2], whole_fault[:20], pieces_fault[:20]


def _talk(
    extensions: Extensions, parts: Iterable[Iterable[bytes]]
) -> tuple[list[ClientEvent], str]:
    session = ClientSession(extensions)
    events: list[ClientEvent] = []
    for part in parts:
        if session.waiting_for is None and not session.is_closing:
            assert isinstance(session.send_transaction(*_MESSAGE), bytes)
        for data in part:
            try:
                found = session.receive(data)
            except RemoteProtocolError as error:
                return events, str(error)
            events += found
            _check_steps(session, found)
    return events, ""


def _check_steps(session: ClientSession, events: list[ClientEvent]) -> None:
    for event in events:
        if isinstance(event, Send):
            assert event.data.endswith(b"\r\n")
        elif event.stage is Stage.CONTENT and event.reply.is_positive:
            assert session.is_answered
            assert session.is_content_sent
