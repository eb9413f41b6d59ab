"""Which events are those of a message, and what became of it."""

import pytest
from msgspec.structs import replace

from shared.events.stories import WAITING, Wanted, stories
from shared.topics.codec import encode_event, event_id
from shared.topics.records import Event, EventType, MailEvent

MAIL_ID = "01JDEXAMP0E0000000000000ZZ"
DATA = MailEvent(
    client="shop",
    mailing_id="spring",
    recipient="Anna@xn--mnchen-3ya.example",
    message_id="<Order.7@shop.example>",
    at_ms=1_795_467_600_000,
    submission_id='order "7"',
    code="SPRING26",
    metadata={"order": "7"},
)


def event(kind: EventType, at_ms: int, mail_id: str = MAIL_ID, **fields: object) -> Event:
    data = replace(DATA, at_ms=DATA.at_ms + at_ms, **fields)
    return Event(event_id(mail_id, kind, data.attempt), kind, mail_id, data)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (MAIL_ID, True),
        ("01JDEXAMP0E0000000000000ZY", False),
        ("<Order.7@shop.example>", True),
        ("Order.7@shop.example", True),
        ("order.7@shop.example", False),
        ('order "7"', True),
        ("order", False),
        ("anna@XN--MNCHEN-3YA.example", True),
        ("anna@m\u00fcnchen.example", True),
        ("ANNA@m\u00fcnchen.example", True),
        ("bob@m\u00fcnchen.example", False),
        ("spring", False),
        ("", False),
    ],
)
def test_a_message_is_found_by_each_of_its_names(text: str, is_found: bool) -> None:
    found = event(EventType.DELIVERED, 0)
    key, value, _ = encode_event(found.type, found.subject, found.data, "deliver")
    wanted = Wanted(text)
    assert wanted.matches(found) is is_found
    # The sieve may pass what does not match, never the reverse.
    assert not is_found or wanted.may_be(key, value)


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ([EventType.DEFERRED, EventType.DELIVERED], "delivered"),
        ([EventType.DEFERRED, EventType.IN_DOUBT], WAITING),
        ([EventType.DUPLICATE], "duplicate"),
        ([EventType.REFUSED], "refused"),
        ([EventType.DELIVERED, EventType.RETURNED, EventType.COMPLAINED], "delivered"),
        ([EventType.RETURNED], WAITING),
        ([EventType.DELIVERED, EventType.DUPLICATE], "delivered"),
    ],
)
def test_the_final_event_says_what_became_of_a_message(kinds: list[EventType], state: str) -> None:
    (story,) = stories(event(kind, place) for place, kind in enumerate(kinds))
    assert story.state == state
    assert (story.client, story.code, story.metadata) == ("shop", "SPRING26", {"order": "7"})
    assert [each.type for each in story.events] == kinds


def test_a_message_that_waits_has_a_next_attempt() -> None:
    (story,) = stories([event(EventType.DEFERRED, 0, next_attempt_at_ms=5, attempt=1)])
    assert (story.state, story.next_attempt_at_ms) == (WAITING, 5)


def test_events_are_in_order_and_one_that_was_repeated_is_shown_once() -> None:
    early, late = event(EventType.DEFERRED, 1, attempt=1), event(EventType.DELIVERED, 9, attempt=2)
    (story,) = stories([late, early, early])
    assert story.events == [early, late]


def test_each_message_has_a_story_of_its_own() -> None:
    other = "01JDEXAMP0E0000000000000ZY"
    found = stories([event(EventType.DELIVERED, 0), event(EventType.BOUNCED, 0, other)])
    assert [(each.mail_id, each.state) for each in found] == [
        (other, "bounced"),
        (MAIL_ID, "delivered"),
    ]
