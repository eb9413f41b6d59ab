"""Properties of every client session, whatever the server replies.

Only RemoteProtocolError is raised. Replies that are in step give the same events whole and in
pieces. A transaction is accepted only by a positive reply to content that was sent. Every reply,
from the greeting on, becomes events that can be written: JSON in UTF-8 without control
characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable
from random import Random
from typing import Final

import msgspec

from services.deliver.core.attempt.plan import Timing, plan
from services.deliver.core.attempt.results import ConnectionInfo
from services.deliver.core.attempt.verdicts import answered
from services.deliver.edge.attempt.attempt_records import records_of
from shared.smtp.client.session import ClientSession
from shared.smtp.errors import RemoteProtocolError
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply, make_reply
from shared.topics import names
from shared.topics.records import Envelope, Facts, Origin
from tests.fuzz.server_target import cut
from tests.fuzz.talk_grammar import HEAD_BYTES
from tests.support.response_rules import REPLY_RULES

_MESSAGE: Final = ("a@b.example", "c@d.example", b"Subject: u\r\n\r\n.x\r\n")
_EXTENSIONS: Final = (
    Extensions(),
    Extensions(pipelining=True),
    Extensions(pipelining=True, size=True, eight_bit_mime=True, smtputf8=True),
    Extensions(pipelining=True, chunking=True),
)
# A transaction starts before each part, so both ways start it at the same position.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_ENVELOPE: Final = Envelope(
    "0" * 26,
    "c",
    "a@b.example",
    "c@d.example",
    "<1@b.example>",
    1_700_000_000_000,
    Origin(),
    Facts(),
)
_AFTER_DONE: Final = re.compile(rb"(?<= done\r\n)")


def check_answers(data: bytes) -> Hashable:
    """Run one session, whole and in pieces."""
    head, answers = data[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"), data[HEAD_BYTES:]
    extensions = _EXTENSIONS[head[0] % len(_EXTENSIONS)]
    parts = _AFTER_DONE.split(answers)
    random = Random(head[2] + head[3])
    whole, whole_fault = _talk(extensions, [[part] for part in parts])
    pieces, pieces_fault = _talk(extensions, [cut(part, random) for part in parts])
    if not whole_fault:
        assert pieces == whole
    for one in pieces:
        if isinstance(one, Finished):
            _check_event(one.stage, one.reply)
    # As aiosmtplib reads the greeting and the reply to EHLO.
    _check_event(Stage.CONNECT, make_reply(554, answers.decode("utf-8", "surrogateescape")))
    stages = tuple((one.stage, one.reply.code) for one in pieces if isinstance(one, Finished))
    return head[0] % len(_EXTENSIONS), stages[:2], whole_fault[:20], pieces_fault[:20]


def _check_event(stage: Stage, reply: Reply) -> None:
    outcome = answered(REPLY_RULES, stage, reply, True, ConnectionInfo("mx.example"))
    steps = plan(_ENVELOPE, outcome, Timing(_ENVELOPE.received_at_ms))
    for output in records_of(steps, _ENVELOPE, b""):
        if output.topic == names.EVENTS:
            assert output.value is not None
            text = output.value.decode("utf-8")
            msgspec.json.decode(text)
            assert text.isascii() or not _CONTROLS.search(text)
            assert not _CONTROLS.search(json.loads(text)["reply"].replace("\n", " "))


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
