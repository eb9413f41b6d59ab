"""A message is shown with all of its events, whichever name it was found by."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from shared.events.log import Sieve
from shared.events.stories import Choose, Read, Wanted, find_events
from shared.topics import ids
from shared.topics.codec import encode_event, event_id
from shared.topics.records import Event, EventType, MailEvent

NOW_MS = 1_795_467_600_000


def mail_id(number: int, at_ms: int = NOW_MS) -> str:
    return ids.from_bytes(at_ms.to_bytes(6, "big") + number.to_bytes(10, "big"))


FIRST, SECOND, OLD = mail_id(1), mail_id(2), mail_id(3, NOW_MS - 3_600_000)
DATA = MailEvent(
    client="shop", recipient="anna@example.com", message_id="<1@shop.example>", at_ms=NOW_MS
)


def event(kind: EventType, mail_id: str = FIRST, **fields: object) -> Event:
    return Event(event_id(mail_id, kind, 0), kind, mail_id, replace(DATA, **fields))


class Log:
    """A topic of events that is read from a time on; each pass takes at most `most` of them."""

    def __init__(self, events: Sequence[Event], most: int = 100) -> None:
        self._events, self._most = events, most

    def read(self, since_ms: int, sieve: Sieve, choose: Choose) -> Read:
        found = []
        for each in self._events:
            key, value, _ = encode_event(each.type, each.subject, each.data, "deliver")
            if each.data.at_ms >= since_ms and sieve(key, value) and choose(each):
                found.append(each)
        return Read(found[: self._most], len(found) <= self._most)


DELIVERED = event(EventType.DELIVERED)
RETURNED = event(EventType.RETURNED)
FORWARDED = event(EventType.FORWARDED, recipient="returns@shop-office.example")
OTHER = event(EventType.DELIVERED, SECOND, recipient="bob@example.com", client="bank")
EARLIER = event(EventType.DEFERRED, OLD, at_ms=NOW_MS - 3_500_000, recipient="eve@example.com")
LATER = event(EventType.DELIVERED, OLD, recipient="eve@example.com")
ALL = (EARLIER, DELIVERED, RETURNED, FORWARDED, OTHER, LATER)


@pytest.mark.parametrize(
    ("text", "client", "events"),
    [
        ("anna@example.com", "", {DELIVERED.id, RETURNED.id, FORWARDED.id}),
        ("returns@shop-office.example", "", {DELIVERED.id, RETURNED.id, FORWARDED.id}),
        ("<1@shop.example>", "shop", {each.id for each in ALL} - {OTHER.id}),
        (FIRST, "", {DELIVERED.id, RETURNED.id, FORWARDED.id}),
        ("eve@example.com", "", {EARLIER.id, LATER.id}),  # one of them before the time asked for
        (OLD, "", {EARLIER.id, LATER.id}),
        ("bob@example.com", "shop", set()),
        (SECOND, "shop", set()),
        ("carl@example.com", "", set()),
    ],
)
def test_a_message_has_the_same_events_by_each_of_its_names(
    text: str, client: str, events: set[str]
) -> None:
    found = find_events(Wanted(text), NOW_MS - 60_000, client, Log(ALL).read)
    assert {each.id for each in found.events} == events
    assert found.is_complete


def test_what_a_bound_left_out_is_said_and_what_named_the_message_is_kept() -> None:
    found = find_events(Wanted(FORWARDED.data.recipient), 0, "", Log(ALL, most=1).read)
    assert {each.id for each in found.events} == {DELIVERED.id, FORWARDED.id}
    assert not found.is_complete
