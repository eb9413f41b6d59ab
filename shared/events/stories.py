"""Finds all events of the messages that match a search text, and derives each message's story.

Not every event of a message has the recipient's address. For example, an event of forwarded mail
has the address to which the mail was forwarded. So a text other than a mail id needs two passes.
The first pass finds the messages that match the text, and the second pass finds all events of these
messages.

Owns: the two passes, and the state of a message. Does not own: reading the topic and its bounds
(log.py, passed as `read`). Errors that `read` raises reach the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, field

from shared.events.log import Sieve
from shared.mail.comparison import comparable
from shared.topics import ids
from shared.topics.records import FINAL, Event, EventType

WAITING: Final = "waiting"
# A mail id begins with the time of the submission. The margin allows for differences between
# clocks.
_MARGIN_MS: Final = 60_000
# These events do not show the state of the message.
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
    """The kind of a search text. With ANY, the text is compared as a text of every kind."""

    ANY = ""
    MAIL_ID = "mail_id"
    MESSAGE_ID = "message_id"
    SUBMISSION = "id"
    RECIPIENT = "recipient"


class Wanted:
    """The messages that match a search text.

    The text is a mail id, a Message-ID with or without its angle brackets, the platform's own id of
    the submission, or the recipient's address.
    """

    def __init__(self, text: str, by: NamedBy = NamedBy.ANY) -> None:
        self._text = text
        self._by = by
        self._recipient = comparable(text)
        bare = text.removeprefix("<").removesuffix(">")
        self._message_id = f"<{bare}>"
        # The value of a matching event contains one of these texts. These texts are JSON strings
        # without the quotes, in lower case.
        self._needles = [
            msgspec.json.encode(each)[1:-1].lower() for each in {bare, self._recipient or bare}
        ]
        self.mail_id = _mail_id(text) if by in (NamedBy.ANY, NamedBy.MAIL_ID) else ""

    def may_be(self, key: bytes, value: bytes) -> bool:
        """Return True if the record may be an event of a wanted message."""
        if self.mail_id:
            return key == self.mail_id.encode()
        lower = value.lower()
        return any(needle in lower for needle in self._needles)

    def matches(self, event: Event) -> bool:
        """Return whether the event belongs to a wanted message."""
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
    """Return the text as a mail id, or "" if it is not a mail id."""
    try:
        return ids.from_bytes(ids.to_bytes(text))
    except ValueError:
        return ""


def since_of(mail_id: str) -> int:
    """Return the earliest time at which an event of this message can exist, in Unix ms."""
    return max(0, int.from_bytes(ids.to_bytes(mail_id)[:6], "big") - _MARGIN_MS)


class Story(Struct, frozen=True):
    """The events and the state of one message.

    The state is the type of the final event, or `waiting`.
    """

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
    """Return the story of each message, sorted by mail id and so by time of submission."""
    by_mail: dict[str, dict[str, Event]] = {}
    for event in events:
        # An event that is repeated after a crash has the same id; the last copy replaces the
        # others.
        found = by_mail.setdefault(event.subject, {})
        found.pop(event.id, None)
        found[event.id] = event
    return [
        _story(mail_id, sorted(found.values(), key=lambda each: each.data.at_ms))
        for mail_id, found in sorted(by_mail.items())
    ]


def _story(mail_id: str, events: list[Event]) -> Story:
    final = next((each for each in events if each.type in FINAL), None)
    during = [each for each in events if each.type not in _AFTERWARDS] or events
    last = final or during[-1]
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


class Read(Struct, frozen=True):
    """The events that were read; `is_complete` is False if a bound ended the reading early."""

    events: list[Event]
    is_complete: bool


Choose = Callable[[Event], bool]
# A function that reads the events since a time (Unix milliseconds). The Sieve selects records
# before they are decoded, and then the Choose function selects events.
ReadEvents = Callable[[int, Sieve, Choose], Read]


def find_events(wanted: Wanted, since_ms: int, client: str, read: ReadEvents) -> Read:
    """Return the events of the wanted messages of `client`; "" stands for every client.

    A message is found by its mail id at any age. Any other text is searched for in the events since
    `since_ms`. If the text matches an event of a message, the earlier events of this message are
    returned, too.
    """

    def names(event: Event) -> bool:
        return client in ("", event.data.client) and wanted.matches(event)

    first = since_of(wanted.mail_id) if wanted.mail_id else since_ms
    named = read(first, wanted.may_be, names)
    mail_ids = {event.subject for event in named.events}
    if wanted.mail_id or not mail_ids:
        return named
    keys = {mail_id.encode() for mail_id in mail_ids}
    begins = [since_of(mail_id) for mail_id in mail_ids if Wanted(mail_id).mail_id]
    rest = read(
        min(begins, default=since_ms),
        lambda key, _value: key in keys,
        lambda event: event.subject in mail_ids,
    )
    # The events of the first pass are kept, because the second pass may end before it finds them.
    is_complete = named.is_complete and rest.is_complete
    return Read([*named.events, *rest.events], is_complete)
