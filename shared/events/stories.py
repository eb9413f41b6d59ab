"""Finds the events of messages, and makes of them what became of each message. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, field

from shared.mail.address import comparable
from shared.topics import ids
from shared.topics.records import FINAL, Event, EventType

WAITING: Final = "waiting"
# A mail id begins with the time of the submission; clocks differ a little.
_MARGIN_MS: Final = 60_000
# These say nothing about whether the message is still to be sent.
_AFTERWARDS: Final = frozenset(
    {
        EventType.RETURNED,
        EventType.COMPLAINED,
        EventType.UNSUBSCRIBED,
        EventType.FORWARDED,
        EventType.FORWARDING_FAILED,
        EventType.IN_DOUBT,
    }
)


class NamedBy(StrEnum):
    """What a text that names messages is. ANY: whichever it fits."""

    ANY = ""
    MAIL_ID = "mail_id"
    MESSAGE_ID = "message_id"
    SUBMISSION = "id"
    RECIPIENT = "recipient"


class Wanted:
    """The messages that somebody asks for, by a text that names them.

    It is a mail id, a Message-ID with or without its angle brackets, the platform's own id of the
    submission, or the recipient's address.
    """

    def __init__(self, text: str, by: NamedBy = NamedBy.ANY) -> None:
        self._text = text
        self._by = by
        self._recipient = comparable(text)
        bare = text.removeprefix("<").removesuffix(">")
        self._message_id = f"<{bare}>"
        # A JSON text without the quotes, in lower case: what the value of an event contains.
        self._needles = [
            msgspec.json.encode(each)[1:-1].lower() for each in {bare, self._recipient or bare}
        ]
        self.mail_id = _mail_id(text) if by in (NamedBy.ANY, NamedBy.MAIL_ID) else ""

    def may_be(self, key: bytes, value: bytes) -> bool:
        """Whether the record can be an event of such a message; most are ruled out by it."""
        if self.mail_id:
            return key == self.mail_id.encode()
        lower = value.lower()
        return any(needle in lower for needle in self._needles)

    def matches(self, event: Event) -> bool:
        """Whether the event is one of such a message."""
        data = event.data
        if self.mail_id:
            return event.subject == self.mail_id
        return (
            (self._can_be(NamedBy.MESSAGE_ID) and data.message_id == self._message_id)
            or (
                self._can_be(NamedBy.SUBMISSION)
                and data.submission_id != ""
                and data.submission_id == self._text
            )
            or (
                self._can_be(NamedBy.RECIPIENT)
                and self._recipient != ""
                and comparable(data.recipient) == self._recipient
            )
        )

    def _can_be(self, kind: NamedBy) -> bool:
        return self._by in (NamedBy.ANY, kind)


def _mail_id(text: str) -> str:
    """Return the mail id that a text is; "" if it is none."""
    try:
        return ids.from_bytes(ids.to_bytes(text))
    except ValueError:
        return ""


def since_of(mail_id: str) -> int:
    """Return the time, in Unix milliseconds, before which no event of this message was written."""
    return max(0, int.from_bytes(ids.to_bytes(mail_id)[:6], "big") - _MARGIN_MS)


class Story(Struct, frozen=True):
    """What became of one message: its state is the word of its final event, or `waiting`."""

    mail_id: str
    state: str
    client: str
    mailing_id: str
    sub_client: str
    recipient: str
    message_id: str
    submission_id: str
    code: str
    metadata: dict[str, str]
    next_attempt_at_ms: int
    events: list[Event] = field(default_factory=list)


def stories(events: Iterable[Event]) -> list[Story]:
    """Return the story of each message, in the order of mail ids, which is that of time."""
    by_mail: dict[str, dict[str, Event]] = {}
    for event in events:
        # An event that is repeated after a crash has the same id; the last one is the latest.
        found = by_mail.setdefault(event.subject, {})
        found.pop(event.id, None)
        found[event.id] = event
    return [
        _story(mail_id, sorted(found.values(), key=lambda each: each.data.at_ms))
        for mail_id, found in sorted(by_mail.items())
    ]


def _story(mail_id: str, events: list[Event]) -> Story:
    final = next((each for each in events if each.type in FINAL), None)
    told = [each for each in events if each.type not in _AFTERWARDS] or events
    last = final or told[-1]
    is_duplicate = final is None and last.type is EventType.DUPLICATE
    state = last.type.value if final is not None or is_duplicate else WAITING
    data = last.data
    return Story(
        mail_id=mail_id,
        state=state,
        client=data.client,
        mailing_id=data.mailing_id,
        sub_client=data.sub_client,
        recipient=data.recipient,
        message_id=data.message_id,
        submission_id=data.submission_id,
        code=data.code,
        metadata=data.metadata,
        next_attempt_at_ms=data.next_attempt_at_ms if state == WAITING else 0,
        events=events,
    )
