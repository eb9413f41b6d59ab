"""Mail of clients that are not registered costs one look-up per batch, whatever the volume."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import pytest
from kafka.consumer.fetcher import ConsumerRecord

from services.ingest.edge.intake.relay import Intake
from services.validate.core.lanes import Lanes
from services.validate.core.verdict import Policy
from services.validate.edge.batch_processor import BatchProcessor, Metrics, Views
from shared.registry import lookup
from shared.registry.client import Client
from shared.registry.store.changes import Changes
from shared.registry.store.publish import apply
from shared.registry.store.view import ClientView
from shared.runtime.clock import SystemClock
from shared.runtime.telemetry import Counter
from shared.settings.sections import KafkaSettings
from shared.stream.outputs import pack
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import decode_event, packs
from shared.topics.records import Envelope, Event, EventType, Facts, Message, Origin
from tests.support.patience import PATIENCE_S
from tests.support.suppressed import NobodySuppressed

MESSAGES = 2_000
CONTENT = b"From: a@news.example\r\nTo: b@example.net\r\nSubject: s\r\nMessage-ID: <1@a>\r\n\r\nx"


class CountingView(ClientView):
    """The real view; counts the requests to catch up."""

    refreshes = 0

    def refresh(self, timeout_s: float) -> bool:
        self.refreshes += 1
        return super().refresh(timeout_s)


@pytest.fixture
def view(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingView]:
    monkeypatch.setattr(lookup, "FRESH_TIMEOUT_S", PATIENCE_S)
    view = CountingView(KafkaSettings(bootstrap=kafka_bootstrap))
    view.start()
    assert view.wait_ready(PATIENCE_S)
    yield view
    view.close()


def some_name() -> str:
    return f"c-{uuid.uuid4().hex[:12]}"


def record(topic: str, offset: int, output: Output) -> ConsumerRecord:
    value, headers = output.value, list(output.headers)
    return ConsumerRecord(
        topic, 0, -1, offset, 0, 0, None, value, headers, None, 0, len(value or b""), 0
    )


def received(client: str, number: int) -> list[ConsumerRecord]:
    """Records of mail.received with `count` messages of a client."""
    envelopes = (
        Envelope(
            f"{n:026d}", client, "a@news.example", "b@example.net", "1@a", 0, Origin(), Facts()
        )
        for n in range(number)
    )
    parts = packs([Message(each, CONTENT) for each in envelopes])
    return [
        record(names.RECEIVED, offset, pack(names.RECEIVED, part))
        for offset, part in enumerate(parts)
    ]


def judging(view: ClientView) -> BatchProcessor:
    return BatchProcessor(
        Views(view, NobodySuppressed()),
        Policy(307_200, Lanes({})),
        lambda _: 1,
        clock=SystemClock(),
        metrics=Metrics(Counter(1), Counter(2), Counter(1)),
    )


def reasons(written: Sequence[Output]) -> list[str]:
    """The reasons of the refusals, one per message."""
    events = (decode_event(list(o.headers), o.value) for o in written if o.topic == names.EVENTS)
    return [
        each.data.reason
        for each in events
        if isinstance(each, Event) and each.type is EventType.REFUSED
    ]


def unregistered(written: Sequence[Output]) -> int:
    """The number of messages refused because no client of that name is registered."""
    return sum("is registered" in reason for reason in reasons(written))


def test_validate_looks_once_for_all_messages_of_removed_clients(view: CountingView) -> None:
    first, second = some_name(), some_name()
    records = received(first, MESSAGES // 2) + received(second, MESSAGES // 2)
    assert unregistered(judging(view).process(records)) == MESSAGES
    assert view.refreshes == 1


def test_ingest_looks_once_for_all_records_of_removed_clients(view: CountingView) -> None:
    topics = [names.intake(some_name()) for _ in range(2)]
    records = [record(topics[n % 2], n, Output(topics[n % 2], CONTENT)) for n in range(MESSAGES)]
    intake = Intake(view, "X-bm-mailing", SystemClock())
    assert unregistered(intake.process(records)) == MESSAGES
    assert view.refreshes == 1


def test_a_client_registered_after_its_mail_was_refused_is_found_at_its_next_message(
    view: CountingView, kafka_bootstrap: str
) -> None:
    name = some_name()
    validate = judging(view)
    assert unregistered(validate.process(received(name, 1))) == 1
    client = Client(name, "news.example", f"returns@{name}.example", "M-1")
    apply(KafkaSettings(bootstrap=kafka_bootstrap), Changes(added=(client,)))
    assert unregistered(validate.process(received(name, 1))) == 0


def test_mail_of_known_clients_asks_for_nothing(view: CountingView, kafka_bootstrap: str) -> None:
    name = some_name()
    client = Client(name, "news.example", f"returns@{name}.example", "M-1")
    apply(KafkaSettings(bootstrap=kafka_bootstrap), Changes(added=(client,)))
    judging(view).process(received(name, 1))
    asked = view.refreshes
    judging(view).process(received(name, MESSAGES))
    assert view.refreshes == asked
