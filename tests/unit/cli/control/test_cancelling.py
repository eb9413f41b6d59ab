"""What the events of a message say about its cancellation."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from cli.control import cancel, topic
from cli.control.cancel import Answer, Cancellation, judge, sentence
from shared.events.log import Reading
from shared.settings.sections import KafkaSettings
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
    assert "no event of this message was found" in sentence(judge(ID, []))
    assert "no event" not in sentence(judge(ID, [event(EventType.DEFERRED, 1, 7)]))


@pytest.mark.parametrize(
    ("is_complete", "said"),
    [(True, "no event of this message"), (False, "the order is recorded; the message ends")],
)
def test_that_there_are_no_events_is_said_only_if_all_were_read(
    is_complete: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def events(reading: Reading) -> Iterator[Event]:
        reading.is_complete = is_complete
        return iter([])

    monkeypatch.setattr(Reading, "events", events)
    monkeypatch.setattr(cancel, "find_kafka", lambda *_: KafkaSettings())
    monkeypatch.setattr(topic, "read_orders", lambda _: [])
    monkeypatch.setattr(cancel, "write_orders", lambda *_: None)
    done = CliRunner().invoke(cancel.main, [ID, "--wait", "0"])
    assert (done.exit_code, said in done.stdout) == (0, True)
    assert ("not all events were read" in done.stderr) is not is_complete
