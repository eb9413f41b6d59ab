"""A client whose lane is not configured: its mail uses `default`, and operators are warned."""

from __future__ import annotations

import logging

import pytest
from kafka.consumer.fetcher import ConsumerRecord

from cli.clients.given import known_lanes, lane_warnings
from services.validate.core.lanes import Lanes
from services.validate.core.verdict import Policy
from services.validate.edge.batch_processor import BatchProcessor, Metrics, Views
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.runtime.clock import SystemClock
from shared.runtime.telemetry import Counter
from shared.stream.outputs import pack
from shared.topics import names
from shared.topics.records import Envelope, Message, Origin
from tests.support.suppressed import NobodySuppressed

DOMAIN = "news.example"
GOOD = Client("good", DOMAIN, "returns@owner.example", "M-1", lane="gmail")
WRONG = Client("wrong", DOMAIN, "returns@owner.example", "M-1", lane="no-such-lane")
CONTENT = (
    f"From: a@{DOMAIN}\r\nTo: b@example.net\r\nSubject: s\r\nMessage-ID: <1@a>\r\n\r\nx\r\n"
).encode()


class Registry:
    """A registry that is complete from the start."""

    def __init__(self, *clients: Client) -> None:
        self._clients = {client.name: client for client in clients}

    def get(self, name: str) -> Client | None:
        return self._clients.get(name)

    def refresh(self, timeout_s: float) -> bool:
        return True

    def ready(self) -> bool:
        return True


def message(client: str, number: int) -> Message:
    facts = scan(CONTENT, b"x-bm-mailing")
    mail_id, sender = f"{number:026d}", f"a@{DOMAIN}"
    envelope = Envelope(mail_id, client, sender, "b@example.net", "1@a", 0, Origin(), facts)
    return Message(envelope, CONTENT)


def record(*clients: str) -> ConsumerRecord:
    output = pack(names.RECEIVED, [message(name, n) for n, name in enumerate(clients)])
    headers = list(output.headers)
    return ConsumerRecord(
        names.RECEIVED, 0, -1, 0, 0, 0, None, output.value, headers, None, 0, 0, 0
    )


def judging(unknown_lanes: Counter) -> BatchProcessor:
    return BatchProcessor(
        Views(Registry(GOOD, WRONG), NobodySuppressed()),
        Policy(307_200, Lanes({"gmail": ["gmail.com"]})),
        lambda _: 1,
        clock=SystemClock(),
        metrics=Metrics(Counter(1), unknown_lanes, Counter(1)),
    )


def test_only_the_mail_of_that_client_changes_its_lane(caplog: pytest.LogCaptureFixture) -> None:
    counter = Counter(2)
    validate = judging(counter)
    with caplog.at_level(logging.WARNING):
        written = validate.process([record("good", "wrong", "wrong")])
        validate.process([record("wrong")])
    topics = {output.topic for output in written if output.topic != names.EVENTS}
    assert topics == {names.outbound("gmail"), names.outbound("default")}
    assert counter.values == {("wrong", "no-such-lane"): 3}
    warnings = [each for each in caplog.records if "lane is not configured" in each.message]
    assert len(warnings) == 1, "once per client and lane"


def test_clients_without_a_lane_or_with_a_known_one_are_not_warned_of() -> None:
    assert known_lanes() >= {"default", "gmail"}
    unnamed = Client("unnamed", DOMAIN, "returns@owner.example", "M-1")
    (warning,) = lane_warnings([unnamed, GOOD, WRONG])
    assert warning.startswith("wrong: lane no-such-lane is not configured; its mail goes by")
    assert "gmail" in warning
