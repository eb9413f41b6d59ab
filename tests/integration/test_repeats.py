"""Duplicate submissions by Kafka or SMTP on a whole pipeline: sent once, reported, billed once."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from kafka import KafkaProducer
from msgspec import Struct

from local.stack import Stack
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.topics import ids, names
from shared.topics.codec import encode_pack
from shared.topics.records import Envelope, Event, EventType, Message, Origin
from tests.support.chaos.witnesses import EventWatch
from tests.support.front_door import PASSWORD, register, trusting
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

pytestmark = pytest.mark.xdist_group("shared-line")

NAME = "repeats"
DOMAIN = "news.repeats.example"
SENDER = f"news@{DOMAIN}"


class Stage(Struct, frozen=True):
    stack: Stack
    events: EventWatch
    producer: KafkaProducer


@pytest.fixture(scope="module")
def stage(shared_line: Stack) -> Iterator[Stage]:
    kafka = shared_line.endpoints.kafka
    register(kafka, Client(NAME, DOMAIN, "back@r.example.org", "standard"))
    events = EventWatch(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka, metrics_enabled=False)
    yield Stage(shared_line, events, producer)
    producer.close(timeout=10)
    events.close()


def message(name: str, body: str = "Hello") -> bytes:
    head = (
        f"From: News <{SENDER}>\r\nTo: ok-{name}@r.example.net\r\nSubject: {name}\r\n"
        f"Message-ID: <{name}@{DOMAIN}>\r\n\r\n"
    )
    return head.encode() + body.encode() + b"\r\n"


def publish_one(stage: Stage, content: bytes, ce_id: str = "", source: str = "/shop") -> None:
    headers = (
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", ce_id.encode()),
            ("ce_type", b"sluice.submission"),
            ("ce_source", source.encode()),
        ]
        if ce_id
        else []
    )
    stage.producer.send(names.intake(NAME), content, headers=headers).get(timeout=PATIENCE_S)


def submit(stage: Stage, name: str, body: str = "Hello") -> tuple[int, str]:
    assert stage.stack.endpoints.smtp is not None
    host, _, port = stage.stack.endpoints.smtp.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=PATIENCE_S) as smtp:
        smtp.ehlo()
        smtp.starttls(context=trusting())
        smtp.ehlo()
        smtp.login(NAME, PASSWORD)
        smtp.mail(SENDER)
        smtp.rcpt(f"ok-{name}@r.example.net")
        code, text = smtp.data(message(name, body))
    return code, text.decode()


def told(stage: Stage, name: str, kind: EventType) -> list[Event]:
    wanted = f"<{name}@{DOMAIN}>"
    found = stage.events.events(frozenset({NAME}))
    return [one for one in found if one.type is kind and one.data.message_id == wanted]


def wait_for(stage: Stage, name: str, **counts: int) -> None:
    def is_there() -> bool:
        return all(len(told(stage, name, EventType(kind))) >= n for kind, n in counts.items())

    wait_until(is_there, f"{name}: {counts}")
    for kind in EventType:
        assert len(told(stage, name, kind)) == counts.get(kind.value, 0), kind


def accepted_at_sink(stage: Stage, name: str) -> int:
    lines = Path(stage.stack.sink_journal).read_text().splitlines()
    return sum(f"<{name}@{DOMAIN}>" in one and '"accepted"' in one for one in lines)


def in_time(stage: Stage, play: Callable[[str], bool], name: str) -> None:
    """Play with one message after the other until Redis has answered the front door in time.

    A busy one may not: then validate alone finds the duplicate (reservations.py), and it is logged.
    """
    log = stage.stack.log("ingest")
    for number in range(10):
        if play(f"{name}-{number}"):
            return
        assert (
            "Redis is unavailable: only the validate service finds duplicates" in log.read_text()
        ), "Redis has answered"
    raise AssertionError(f"{name}: not once in time")


def test_a_record_published_twice_is_sent_once(stage: Stage) -> None:
    for _ in range(3):
        publish_one(stage, message("twice"))
    wait_for(stage, "twice", delivered=1, duplicate=2)
    (first,) = told(stage, "twice", EventType.DELIVERED)
    repeats = told(stage, "twice", EventType.DUPLICATE)
    assert {one.data.first_mail_id for one in repeats} == {first.subject}
    assert first.subject not in {one.subject for one in repeats}
    assert accepted_at_sink(stage, "twice") == 1


def test_the_platforms_own_key_decides_where_it_gives_one(stage: Stage) -> None:
    publish_one(stage, message("own"), "order-1")
    publish_one(stage, message("own"), "order-2")
    publish_one(stage, message("own"), "order-1")
    wait_for(stage, "own", delivered=2, duplicate=1)


def test_two_systems_of_one_client_may_number_their_events_alike(stage: Stage) -> None:
    for name, source in (("shop-7", "/shop"), ("crm-7", "/crm"), ("crm-7", "/crm")):
        publish_one(stage, message(name), "7", source)
    wait_for(stage, "shop-7", delivered=1)
    wait_for(stage, "crm-7", delivered=1, duplicate=1)
    publish_one(stage, message("other-7"), "7", "/crm")
    wait_for(stage, "other-7", refused=1)
    (event,) = told(stage, "other-7", EventType.REFUSED)
    assert "ce_id of this ce_source" in event.data.rules[0].reason


def test_what_an_older_ingest_wrote_is_known_when_it_is_handed_in_again(stage: Stage) -> None:
    content = message("older")
    facts = scan(content)
    envelope = Envelope(
        mail_id=ids.derive("older", 0, 0, 1_795_000_000_000),
        client=NAME,
        sender=SENDER,
        recipient=facts.to_address,
        message_id=facts.message_id,
        received_at_ms=int(time.time() * 1000),
        origin=Origin(names.intake(NAME), 0, 10**9),
        facts=facts,
        submission_key="older-1",
    )
    value, headers = encode_pack([Message(envelope, content)])
    stage.producer.send(names.RECEIVED, value, headers=headers).get(timeout=PATIENCE_S)
    wait_for(stage, "older", delivered=1)
    publish_one(stage, content, "older-1")
    wait_for(stage, "older", delivered=1, duplicate=1)
    publish_one(stage, message("older-next"), "older-1", "/crm")
    wait_for(stage, "older-next", delivered=1)


def test_line_ends_make_no_other_message(stage: Stage) -> None:
    def play(name: str) -> bool:
        content = message(name, "Hello\r\nand bye")
        publish_one(stage, content.replace(b"\r\n", b"\n"))
        wait_for(stage, name, delivered=1)
        publish_one(stage, content)
        publish_one(stage, content.removesuffix(b"\r\n"))
        publish_one(stage, content.replace(b"\r\n", b"\n").removesuffix(b"\n"))
        wait_for(stage, name, delivered=1, duplicate=3)
        code, text = submit(stage, name, "Hello\r\nand bye")
        assert code == 250
        assert accepted_at_sink(stage, name) == 1
        return told(stage, name, EventType.DELIVERED)[0].subject in text

    in_time(stage, play, "line-ends")


def test_another_message_under_the_key_is_refused_and_says_so(stage: Stage) -> None:
    publish_one(stage, message("differs"))
    wait_for(stage, "differs", delivered=1)
    publish_one(stage, message("differs", "Another text"))
    wait_for(stage, "differs", delivered=1, refused=1)
    (event,) = told(stage, "differs", EventType.REFUSED)
    (broken,) = event.data.rules
    assert (broken.rule, broken.found) == ("key_reused", f"<differs@{DOMAIN}>")


def test_a_refused_message_may_be_mended_under_its_key(stage: Stage) -> None:
    publish_one(stage, message("mended").replace(b"Subject: mended", b"Subject: "))
    wait_for(stage, "mended", refused=1)
    publish_one(stage, message("mended"))
    wait_for(stage, "mended", refused=1, delivered=1)


def test_the_second_250_carries_the_first_ones_mail_id(stage: Stage) -> None:
    def play(name: str) -> bool:
        first, at_once = submit(stage, name), submit(stage, name)
        wait_for(stage, name, delivered=1, duplicate=1)
        later = submit(stage, name)
        assert first[0] == 250
        wait_for(stage, name, delivered=1, duplicate=2)
        (delivered,) = told(stage, name, EventType.DELIVERED)
        assert delivered.subject in first[1]
        assert accepted_at_sink(stage, name) == 1
        return first == at_once == later

    in_time(stage, play, "smtp")


def test_another_message_under_the_key_is_refused_at_the_dot(stage: Stage) -> None:
    def play(name: str) -> bool:
        code, text = submit(stage, name)
        assert code == 250
        wait_for(stage, name, delivered=1)
        code, refusal = submit(stage, name, "Another text")
        wait_for(stage, name, delivered=1, refused=1)
        return code == 550 and "key_reused" in refusal and text.split()[-1] in refusal

    in_time(stage, play, "smtp-differs")


def test_what_came_by_kafka_is_known_by_smtp_and_the_other_way_round(stage: Stage) -> None:
    def play(name: str) -> bool:
        publish_one(stage, message(name))
        wait_for(stage, name, delivered=1)
        code, text = submit(stage, name)
        assert code == 250
        publish_one(stage, message(name))
        wait_for(stage, name, delivered=1, duplicate=2)
        return told(stage, name, EventType.DELIVERED)[0].subject in text

    in_time(stage, play, "both")


def test_a_submission_is_known_again_after_redis_was_emptied(stage: Stage) -> None:
    publish_one(stage, message("emptied"))
    wait_for(stage, "emptied", delivered=1)
    redis.Redis.from_url(stage.stack.endpoints.redis).flushall()
    publish_one(stage, message("emptied"))
    wait_for(stage, "emptied", delivered=1, duplicate=1)
