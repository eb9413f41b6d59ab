"""What the events of a message say about its cancellation."""

import pytest

from cli.control.cancel import sentence
from cli.control.message_events import Answer, Cancellation, judge
from shared.topics.codec import event_id
from shared.topics.records import Event, EventType, MailEvent

ID = "01HZZZZZZZ0000000000000000"


def event(kind: EventType, at_ms: int, due_ms: int = 0) -> Event:
    data = MailEvent("shop", at_ms=at_ms, next_attempt_at_ms=due_ms)
    return Event(event_id(ID, kind, 0), kind, ID, data)


@pytest.mark.parametrize(
    ("events", "answer"),
    [
        ([], Cancellation(ID, Answer.RECORDED, "waiting", has_events=False)),
        ([event(EventType.SCHEDULED, 1, 9)], Cancellation(ID, Answer.RECORDED, "waiting", 9)),
        ([event(EventType.DEFERRED, 1, 7)], Cancellation(ID, Answer.RECORDED, "waiting", 7)),
        ([event(EventType.CANCELLED, 1)], Cancellation(ID, Answer.CANCELLED, "cancelled")),
        (
            [event(EventType.DEFERRED, 1, 7), event(EventType.DELIVERED, 2)],
            Cancellation(ID, Answer.ENDED, "delivered"),
        ),
        ([event(EventType.REFUSED, 1)], Cancellation(ID, Answer.ENDED, "refused")),
        ([event(EventType.DUPLICATE, 1)], Cancellation(ID, Answer.ENDED, "duplicate")),
    ],
)
def test_the_final_event_decides(events: list[Event], answer: Cancellation) -> None:
    assert judge(ID, events) == answer


def test_a_message_without_events_is_said_to_have_none() -> None:
    assert "no event of such a message was found" in sentence(judge(ID, []))
    assert "no event" not in sentence(judge(ID, [event(EventType.DEFERRED, 1, 7)]))
