"""Bad input on a real pipeline: each record gets its refusal, and later records are processed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kafka import KafkaProducer
from msgspec import Struct

from local.stack import Stack
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.topics import names
from shared.topics.records import Event, EventType
from tests.support.chaos.witnesses import EventWatch, follow
from tests.support.patience import PATIENCE_S

# One process runs all modules that use this pipeline.
pytestmark = pytest.mark.xdist_group("shared-line")

CLIENT = "bad-input"
STRANGER = "nobody-knows"
DOMAIN = "news.bad-input.example"


def message(name: str, extra: bytes = b"", body: bytes = b"Hello\r\n") -> bytes:
    head = (
        f"From: News <news@{DOMAIN}>\r\nTo: ok-{name}@r.example.net\r\n"
        f"Subject: {name}\r\nMessage-ID: <{name}@{DOMAIN}>\r\n"
    )
    return head.encode() + extra + b"\r\n" + body


class RawName(str):
    """A header name that is sent as these bytes, whatever its text is."""

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return b"sluice-\xff\xfe"


class Bad(Struct, frozen=True):
    """One bad record: its bytes, and the rule or reason for its refusal."""

    content: bytes | None
    rule: str
    kept: bool  # on mail.refused, because it could not be read
    topic: str = names.intake(CLIENT)
    headers: tuple[tuple[str, bytes], ...] = ()


BAD: dict[str, Bad] = {
    "empty": Bad(b"", "unreadable", kept=True),
    "without a value": Bad(None, "unreadable", kept=True),
    "binary": Bad(bytes(range(256)) * 40, "unreadable", kept=True),
    "compressed": Bad(b"\x1f\x8b\x08\x00" + Random(1).randbytes(5_000), "unreadable", kept=True),
    "without a header end": Bad(
        message("no-end").partition(b"\r\n\r\n")[0] + b"\r\n", "unreadable", kept=True
    ),
    "header name not UTF-8": Bad(
        message("name"), "bad_header", kept=True, headers=((RawName("sluice-"), b"x"),)
    ),
    "header name nearly known": Bad(
        message("near"), "bad_header", kept=True, headers=(("X-Sluice-Code", b"SPRING26"),)
    ),
    "JSON key twice": Bad(
        b'{"specversion":"1.0","id":"1","id":"2","type":"t","source":"s","data":"x"}',
        "bad_header",
        kept=True,
        headers=(("content-type", b"application/cloudevents+json"),),
    ),
    "2 MB": Bad(message("huge", body=b"0123456789abcde\n" * 131_072), "R1", kept=False),
    "unknown code": Bad(message("code", b"X-bm-mailing: none-such\r\n"), "R8", kept=False),
    "unregistered client": Bad(
        message("stranger"), "unregistered", kept=True, topic=names.intake(STRANGER)
    ),
}


class Sent(Struct, frozen=True):
    """A record and its position in Kafka."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


@pytest.fixture(scope="module")
def stack(shared_line: Stack) -> Stack:
    kafka = KafkaSettings(bootstrap=shared_line.endpoints.kafka)
    client = Client(CLIENT, DOMAIN, "back@bad-input.example.org", "standard")
    publish.apply(kafka, Changes(added=(client,)))
    ensure_topics(kafka, [names.intake_plan(STRANGER)])
    return shared_line


@pytest.fixture(scope="module")
def events(stack: Stack) -> Iterator[EventWatch]:
    watch = EventWatch(stack.endpoints.kafka)
    yield watch
    watch.close()


@pytest.fixture(scope="module")
def sent(stack: Stack, events: EventWatch) -> dict[str, Sent]:
    """Every bad record between two good ones, in one partition, so that one could block the next.

    Returns when each has its final event.
    """
    producer = KafkaProducer(
        bootstrap_servers=stack.endpoints.kafka, max_request_size=4_000_000, metrics_enabled=False
    )
    found: dict[str, Sent] = {}
    try:
        for number, (name, bad) in enumerate(BAD.items()):
            good = f"good {number}"
            found[good] = publish_one(
                producer, names.intake(CLIENT), message(good.replace(" ", "-"))
            )
            found[name] = publish_one(producer, bad.topic, bad.content, bad.headers)
        found["good last"] = publish_one(producer, names.intake(CLIENT), message("good-last"))
    finally:
        producer.close(timeout=10)
    deadline = time.monotonic() + PATIENCE_S
    while len(refused(events)) + len(delivered(events)) < len(found):
        told = f"{len(refused(events))} refused, {len(delivered(events))} delivered"
        assert time.monotonic() < deadline, f"{told} of {len(found)}"
        time.sleep(0.1)
    return found


def publish_one(
    producer: Any,
    topic: str,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]] = (),
) -> Sent:
    # kafka-python requires a key if there is no value.
    key = b"key" if value is None else None
    sent = producer.send(topic, value=value, key=key, headers=list(headers), partition=0)
    place = sent.get(timeout=30)
    return Sent(topic, place.partition, place.offset, value)


def refused(events: EventWatch) -> dict[tuple[str, int, int], Event]:
    """The refusals by the coordinates of their records."""
    found: dict[tuple[str, int, int], Event] = {}
    for event in events.events(frozenset({CLIENT, STRANGER})):
        if event.type is EventType.REFUSED:
            assert event.data.origin is not None
            origin = event.data.origin
            found[origin.topic, origin.partition, origin.offset] = event
    return found


def delivered(events: EventWatch) -> list[str]:
    """The Message-IDs with a `delivered` event, sorted."""
    told = events.events(frozenset({CLIENT, STRANGER}))
    return sorted(event.data.message_id for event in told if event.type is EventType.DELIVERED)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_ends_as_refused_with_its_rule_and_reason(
    sent: dict[str, Sent], events: EventWatch, name: str
) -> None:
    place = sent[name]
    event = refused(events)[place.topic, place.partition, place.offset]
    # Bytes that are not a message also lack all headers.
    assert event.data.rules[0].rule == BAD[name].rule
    missing = [broken.rule for broken in event.data.rules[1:]]
    assert missing in ([], ["R2", "R3", "R4", "R6"] if BAD[name].rule == "unreadable" else [])
    assert event.data.rules[0].reason
    assert event.data.rules[0].status.startswith("5.")


def test_every_good_message_between_the_bad_ones_is_delivered(
    sent: dict[str, Sent], events: EventWatch, stack: Stack
) -> None:
    good = [name.replace(" ", "-") for name in sent if name.startswith("good ")]
    assert len(good) == len(BAD) + 1
    assert delivered(events) == sorted(f"<{name}@{DOMAIN}>" for name in good)
    journal = Path(stack.sink_journal).read_text().splitlines()
    accepted = [line for line in journal if '"accepted"' in line and f"@{DOMAIN}>" in line]
    assert len(accepted) == len(good)


def test_what_could_not_be_read_is_kept_in_mail_refused_with_code_reason_and_place(
    sent: dict[str, Sent], stack: Stack
) -> None:
    kept = {name: sent[name] for name, bad in BAD.items() if bad.kept}
    found = read_refused(stack.endpoints.kafka, len(kept))
    for name, place in kept.items():
        headers, value = found[place.topic, place.partition, place.offset]
        assert value == (place.value or b""), name
        assert headers["code"] == BAD[name].rule
        assert headers["reason"]
    assert len(found) == len(kept)


def read_refused(
    bootstrap: str, wanted: int
) -> dict[tuple[str, int, int], tuple[dict[str, str], bytes]]:
    """The records of mail.refused from these intakes, by the position of their source."""
    consumer = follow(bootstrap, names.REFUSED)
    found: dict[tuple[str, int, int], tuple[dict[str, str], bytes]] = {}
    deadline = time.monotonic() + PATIENCE_S
    try:
        while len(found) < wanted and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=200).values():
                for record in records:
                    headers = {name: value.decode() for name, value in record.headers}
                    place = headers["topic"], int(headers["partition"]), int(headers["offset"])
                    if place[0] in (names.intake(CLIENT), names.intake(STRANGER)):
                        found[place] = headers, record.value or b""
    finally:
        consumer.close(autocommit=False)
    return found


def test_no_service_died_of_it(sent: dict[str, Sent], stack: Stack) -> None:
    assert sent
    assert [name for name in stack.parts if not stack.process(name).runs] == []
