"""Decides what a cancellation has come to, from the events of the message. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from shared.events.stories import WAITING, Story, stories
from shared.topics.records import Event, EventType


class Answer(StrEnum):
    """What has become of the message."""

    CANCELLED = "cancelled"
    # It has another final event: it ended before, or its attempt had begun.
    ENDED = "ended"
    # Nothing will be sent; the event comes when the message is read from its queue.
    RECORDED = "recorded"


class Cancellation(Struct, frozen=True):
    """The answer, the state of the message, and when it is read if it waits (0: not known)."""

    mail_id: str
    answer: Answer
    state: str
    due_at_ms: int = 0


def judge(mail_id: str, events: Iterable[Event]) -> Cancellation:
    """Return what these events say; without events the message may not have been tried yet."""
    found: Story | None = next(iter(stories(events)), None)
    if found is None or found.state == WAITING:
        due_ms = found.next_attempt_at_ms if found is not None else 0
        return Cancellation(mail_id, Answer.RECORDED, WAITING, due_ms)
    if found.state == EventType.CANCELLED:
        return Cancellation(mail_id, Answer.CANCELLED, found.state)
    return Cancellation(mail_id, Answer.ENDED, found.state)
