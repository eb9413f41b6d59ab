"""Batches that Kafka accepts stop no service and no other client, and use bounded memory.

A property over (topic, codec, size, expansion, kind of refusal), drawn from seeds: every batch that
the broker accepts gets its refusals, the next message of another client is delivered after each,
no service reports that it is not ready, and none uses more than MEMORY_BYTES.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from cli.audit.command import audit
from cli.stack.paths import SERVICES
from local.stack import Stack, StackOptions
from shared.audit.report import FaultKind
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, make_consumer
from shared.topics import names
from shared.topics.codec import CodecError, decode_event
from shared.topics.records import Event, EventType
from tests.support.hostile_batches import Hostile, event_cases, intake_cases, internal_cases
from tests.support.patience import PATIENCE_S
from tests.support.raw_batches import RawRecord, batch_of, produce

# The pipeline of this module is started once, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("hostile-records")

BAD, GOOD = "hostile", "honest"
MEMORY_BYTES = 300 * 1024 * 1024
SEED = 1
LONG_SEEDS = range(2, 12)
PACKS = (names.RECEIVED, names.outbound("default"), names.deferred("1m"))


def message(client: str, name: str) -> bytes:
    domain = f"news.{client}.example"
    head = (
        f"From: News <news@{domain}>\r\nTo: ok-{name}@r.example.net\r\n"
        f"Subject: {name}\r\nMessage-ID: <{name}@{domain}>\r\n\r\nHello\r\n"
    )
    return head.encode()


class Follower:
    """The contents of mail.events and mail.refused; records that are not events are skipped."""

    def __init__(self, bootstrap: str) -> None:
        self.delivered: set[str] = set()
        self.refused: Counter[str] = Counter()  # by client
        self.kept: Counter[str] = Counter()  # by the topic of its source
        self._consumer: Any = make_consumer(ClientOptions(bootstrap, "test"), None)
        self._consumer.assign(
            [
                TopicPartition(topic, number)
                for topic in (names.EVENTS, names.REFUSED)
                for number in self._consumer.partitions_for_topic(topic)
            ]
        )
        self._consumer.seek_to_beginning()

    def look(self) -> None:
        for records in self._consumer.poll(timeout_ms=100).values():
            for record in records:
                self._note(record)

    def _note(self, record: Any) -> None:
        if record.topic == names.REFUSED:
            self.kept[dict(record.headers)["topic"].decode()] += 1
            return
        try:
            event = decode_event(record.headers, record.value)
        except CodecError:
            return
        if isinstance(event, Event) and event.type is EventType.REFUSED:
            self.refused[event.data.client] += 1
        if isinstance(event, Event) and event.type is EventType.DELIVERED:
            self.delivered.add(event.data.message_id)

    def close(self) -> None:
        self._consumer.close(autocommit=False)


class House:
    """The pipeline, its witness, and valid mail."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.kafka = stack.endpoints.kafka
        self.seen = Follower(self.kafka)
        self._numbers = count()

    def deliver(self, client: str) -> None:
        """Submit one valid message and wait until it has arrived."""
        name = f"good-{next(self._numbers)}"
        error, _ = produce(self.kafka, names.intake(client), batch_of_one(client, name))
        assert error == 0
        wanted = f"<{name}@news.{client}.example>"
        self.wait(lambda: wanted in self.seen.delivered, f"{name} of {client} is delivered")

    def wait(self, holds: Any, what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until, f"waited too long until {what}"
            self.seen.look()
            self.require_ready()

    def require_ready(self) -> None:
        for name, url in self.stack.endpoints.metrics.items():
            try:
                urllib.request.urlopen(url.replace("/metrics", "/ready"), timeout=30).close()
            except urllib.error.HTTPError as error:
                pytest.fail(f"{name} is not ready: {error.read()!r}")

    def memory(self) -> dict[str, int]:
        """The peak memory of each service."""
        found: dict[str, int] = {}
        for name in SERVICES:
            status = Path(f"/proc/{self.stack.process(name).pid}/status").read_text()
            row = next(row for row in status.splitlines() if row.startswith("VmHWM"))
            found[name] = int(row.split()[1]) * 1024
        return found


def batch_of_one(client: str, name: str) -> bytes:
    return batch_of([RawRecord(message(client, name))], "gzip", int(time.time() * 1000))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("hostile")
    with Stack(
        StackOptions(name="hostile-records", folder=folder, restart=False, is_lasting=False)
    ) as stack:
        clients = tuple(
            Client(name, f"news.{name}.example", f"back@{name}.example.org", "standard")
            for name in (BAD, GOOD)
        )
        publish.apply(KafkaSettings(bootstrap=stack.endpoints.kafka), Changes(added=clients))
        house = House(stack)
        house.deliver(GOOD)
        yield house
        house.seen.close()


def hand_in(house: House, case: Hostile) -> int:
    """Publish it; return the expected refusals, 0 if the broker does not accept it."""
    error, _ = produce(house.kafka, case.topic, case.batch)
    assert error in {0, -1, 2, 10, 87}, case.name
    return case.refused if error == 0 else 0


def check_intakes(house: House, seed: int) -> None:
    wanted = house.seen.refused[BAD]
    taken = 0
    for case in intake_cases(BAD, message(BAD, f"bad-{seed}"), seed):
        expected = hand_in(house, case)
        taken += expected > 0
        wanted += expected
        house.deliver(GOOD)
        house.wait(lambda: house.seen.refused[BAD] >= wanted, f"{case.name} is refused")  # noqa: B023
        house.deliver(BAD)
    assert taken >= 8
    house.wait(lambda: house.seen.kept[names.intake(BAD)] >= wanted, "all are kept")
    assert house.seen.refused[BAD] == house.seen.kept[names.intake(BAD)] == wanted


def check_packs(house: House, seed: int) -> None:
    for topic in PACKS:
        wanted = house.seen.kept[topic]
        for case in internal_cases(topic, seed):
            wanted += hand_in(house, case)
        house.wait(lambda: house.seen.kept[topic] >= wanted, f"{topic} is read on")  # noqa: B023
        house.deliver(GOOD)
        assert house.seen.kept[topic] == wanted > 0
    for service in ("ingest", "validate", "deliver"):
        assert metric(house, service, "sluice_stream_unreadable") > 0


def check_events(house: House, seed: int) -> None:
    options = ClientOptions(house.kafka, "audit")
    before = unreadable(audit(options))
    taken = 0
    for case in event_cases(seed):
        error, _ = produce(house.kafka, case.topic, case.batch)
        taken += error == 0
    assert taken >= 5
    house.deliver(GOOD)
    # A transaction that is open hides what was written after it.
    house.wait(lambda: unreadable(audit(options)) >= before + taken, "the audit reads on")
    assert unreadable(audit(options)) == before + taken
    unread = "sluice_billing_unreadable"
    house.wait(lambda: metric(house, "billing", unread) >= taken, "billing reads on")


def unreadable(report: Any) -> int:
    return sum(fault.count for fault in report.faults if fault.kind is FaultKind.UNREADABLE)


def metric(house: House, service: str, name: str) -> float:
    with urllib.request.urlopen(house.stack.endpoints.metrics[service], timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(row.split()[-1]) for row in lines if row.startswith(name))


def check_processes(house: House) -> None:
    assert [name for name in house.stack.parts if not house.stack.process(name).runs] == []
    memory = house.memory()
    print("memory in MiB:", {name: size >> 20 for name, size in memory.items()})
    assert {name: size for name, size in memory.items() if size > MEMORY_BYTES} == {}, memory


def test_hostile_records_are_refused_and_stop_nobody(house: House) -> None:
    check_intakes(house, SEED)
    check_packs(house, SEED)
    check_events(house, SEED)
    check_processes(house)


@pytest.mark.long
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_more_hostile_records_are_refused_and_stop_nobody(house: House, seed: int) -> None:
    check_intakes(house, seed)
    check_packs(house, seed)
    check_events(house, seed)
    check_processes(house)
