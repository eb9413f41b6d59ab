"""What the events of a message say of a cancellation, and which orders in force concern it. Pure.

An order that names a provider or a lane is left out: the events do not say them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from shared.events.stories import WAITING, Story, stories
from shared.topics.control import Order
from shared.topics.records import Event, EventType


class Answer(StrEnum):
    """The state of the message after the order."""

    CANCELLED = "cancelled"
    # The message has another final event: it ended before the order, or an attempt had begun.
    ENDED = "ended"
    # Nothing will be sent; the event comes when the message is read from its queue.
    RECORDED = "recorded"


class Cancellation(Struct, frozen=True):
    """The answer, the state of the message, and when it is read if it waits (0: not known)."""

    mail_id: str
    answer: Answer
    state: str
    due_at_ms: int = 0
    has_events: bool = True


def judge(mail_id: str, events: Iterable[Event]) -> Cancellation:
    """Return what these events say; without events the message may not have been tried yet."""
    found: Story | None = next(iter(stories(events)), None)
    if found is None or found.state == WAITING:
        due_ms = found.next_attempt_at_ms if found is not None else 0
        return Cancellation(mail_id, Answer.RECORDED, WAITING, due_ms, found is not None)
    if found.state == EventType.CANCELLED:
        return Cancellation(mail_id, Answer.CANCELLED, found.state)
    return Cancellation(mail_id, Answer.ENDED, found.state)


def orders_on(story: Story, orders: Iterable[Order], now_ms: int) -> list[Order]:
    """Return the orders in force whose scope is known to include the message."""
    known = {
        "client": story.client,
        "mailing": story.mailing_id,
        "sub_client": story.sub_client,
        "domain": story.recipient.rpartition("@")[2].lower(),
        "site": next((each.data.site for each in reversed(story.events) if each.data.site), ""),
        "mail_id": story.mail_id,
    }
    return [
        order
        for order in orders
        if not order.is_over(now_ms)
        and all(known.get(name, "") == value for name, value in order.scope.given())
    ]
