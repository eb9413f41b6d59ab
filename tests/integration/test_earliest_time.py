"""The attributes of a submission on a real pipeline: its code, its earliest time, its expiry."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaProducer
from msgspec import Struct

from local.stack import Stack
from shared.registry.client import Client, Code
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.topics import ids, names
from shared.topics.codec import decode_pack, encode_pack
from shared.topics.records import FINAL, Envelope, Event, EventType, Facts, Message, Origin
from tests.support.chaos.witnesses import EventWatch, follow
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

# One process runs all modules that use this pipeline.
pytestmark = pytest.mark.xdist_group("shared-line")

CLIENT = "early"
DOMAIN = "news.early.example"
AHEAD_MS = 8_000

STRUCTURED = [("content-type", b"application/cloudevents+json")]


def message(name: str) -> bytes:
    return (
        f"From: News <news@{DOMAIN}>\r\nTo: ok-{name}@r.example.net\r\n"
        f"Subject: {name}\r\nMessage-ID: <{name}@{DOMAIN}>\r\n\r\nHello\r\n"
    ).encode()


def event(name: str, **more: Any) -> bytes:
    attributes = {"specversion": "1.0", "id": name, "type": "com.example.send", "source": "/test"}
    data = base64.b64encode(message(name)).decode()
    return json.dumps({**attributes, "data_base64": data, **more}).encode()


def waiting(
    name: str, not_before_ms: int, expires_ms: int
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A record of a retry topic as validate or deliver writes it, at the end of a hop."""
    envelope = Envelope(
        mail_id=ids.time_letters(not_before_ms) + ids.random_part(name.encode().ljust(16)),
        client=CLIENT,
        sender=f"news@{DOMAIN}",
        recipient=f"ok-{name}@r.example.net",
        message_id=f"<{name}@{DOMAIN}>",
        received_at_ms=not_before_ms - AHEAD_MS,
        origin=Origin(),
        facts=Facts(size_bytes=100),
        lane="default",
        expires_at_ms=expires_ms,
        not_before_ms=not_before_ms,
    )
    return encode_pack([Message(envelope, message(name))])


class Handed(Struct, frozen=True):
    """Shared by the tests: every event by the left side of the Message-ID, and the time."""

    events: dict[str, list[Event]]
    not_before_ms: int
    kafka: str


@pytest.fixture(scope="module")
def stack(shared_line: Stack) -> Stack:
    codes = {"SPRING26": Code("spring", "shop-de")}
    client = Client(CLIENT, DOMAIN, "back@early.example.org", "standard", codes)
    kafka = KafkaSettings(bootstrap=shared_line.endpoints.kafka)
    publish.apply(kafka, Changes(added=(client,)))
    return shared_line


@pytest.fixture(scope="module")
def handed(stack: Stack) -> Iterator[Handed]:
    watch = EventWatch(stack.endpoints.kafka)
    producer = KafkaProducer(bootstrap_servers=stack.endpoints.kafka, metrics_enabled=False)
    intake = names.intake(CLIENT)
    producer.send(intake, message("coded"), headers=[("sluice-code", b"SPRING26")])
    producer.flush()
    # ingest looks for new intakes every few seconds; the times count from when it reads this one.
    wait_until(lambda: bool(watch.ended(CLIENT)), "the intake is read")
    now_ms = int(time.time() * 1000)
    not_before_ms = now_ms + AHEAD_MS
    said = b"%d" % not_before_ms
    producer.send(intake, message("late"), headers=[("sluice-not-before", said)])
    producer.send(
        intake, event("structured", notbefore=not_before_ms, code="SPRING26"), headers=STRUCTURED
    )
    producer.send(intake, message("bad"), headers=[("sluice-not-before", b"tomorrow")])
    producer.send(intake, b"no json", headers=STRUCTURED)
    producer.send(intake, message("other"), headers=[("sluice-sender", b"x@" + DOMAIN.encode())])
    long, long_headers = waiting("long", not_before_ms, not_before_ms + 600_000)
    producer.send(names.deferred("12h"), long, headers=long_headers)
    over, over_headers = waiting("over", not_before_ms, now_ms - 1)
    producer.send(names.deferred("1h"), over, headers=over_headers)
    producer.close(timeout=10)
    found: dict[str, list[Event]] = {}
    deadline = time.monotonic() + PATIENCE_S
    while sum(told.type in FINAL for events in found.values() for told in events) < 8:
        assert time.monotonic() < deadline, f"only {sorted(found)}"
        time.sleep(0.1)
        found = {}
        for told in watch.events(frozenset({CLIENT})):
            name = told.data.message_id.strip("<").partition("@")[0]
            found.setdefault(name, []).append(told)
    yield Handed(found, not_before_ms, stack.endpoints.kafka)
    watch.close()


@pytest.mark.parametrize("name", ["coded", "late", "structured", "long"])
def test_a_message_is_delivered_once_and_not_before_its_time(handed: Handed, name: str) -> None:
    *before, told = handed.events[name]
    assert {each.type for each in before} <= {EventType.SCHEDULED}
    assert told.type is EventType.DELIVERED
    assert told.data.attempt == 1
    assert name == "coded" or told.data.at_ms >= handed.not_before_ms


@pytest.mark.parametrize(("name", "mailing"), [("coded", "spring"), ("late", "standard")])
def test_the_code_beside_the_message_names_the_mailing(
    handed: Handed, name: str, mailing: str
) -> None:
    assert handed.events[name][0].data.mailing_id == mailing
    assert handed.events["structured"][0].data.sub_client == "shop-de"


def test_what_cannot_be_read_beside_a_message_refuses_it_alone(handed: Handed) -> None:
    # Reports to the forwarding address name no message either.
    refused = [told for told in handed.events[""] if told.type is EventType.REFUSED]
    rules = [told.data.rules[0].rule for told in refused]
    assert sorted(rules) == ["bad_header", "unreadable"]
    (told,) = handed.events["other"]
    assert [rule.rule for rule in told.data.rules] == ["R9"]


def test_a_message_whose_time_is_over_while_it_waits_is_expired(handed: Handed) -> None:
    (told,) = (told for told in handed.events["over"] if told.type is not EventType.FORWARDED)
    assert told.type is EventType.EXPIRED
    assert told.data.attempt == 0


def stays(kafka: str, topic: str) -> list[Envelope]:
    """The envelopes written to a retry topic so far."""
    consumer = follow(kafka, topic)
    ends = consumer.end_offsets(consumer.assignment())
    found: list[Envelope] = []
    deadline = time.monotonic() + PATIENCE_S
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        assert time.monotonic() < deadline, f"{topic}: only {len(found)} read"
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                found += [one.envelope for one in decode_pack(record.value, record.headers)]
    consumer.close(autocommit=False)
    return found


def test_a_wait_is_handed_round_and_keeps_its_earliest_time(handed: Handed) -> None:
    found = [
        envelope
        for step in ("1m", "5m")
        for envelope in stays(handed.kafka, names.deferred(step))
        if envelope.client == CLIENT
    ]
    for envelope in found:
        assert envelope.not_before_ms == handed.not_before_ms
        assert envelope.due_at_ms <= handed.not_before_ms
        assert envelope.attempts.count == 0
    said = {envelope.message_id for envelope in found}
    assert said == {f"<{name}@{DOMAIN}>" for name in ("late", "structured", "long")}
    # It came from 12h through 5m, scaled to 3 s each, and 1m, scaled to 0.6 s each.
    long = [envelope for envelope in found if envelope.message_id == f"<long@{DOMAIN}>"]
    assert 2 <= len(long) <= 8
