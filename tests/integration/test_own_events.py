"""A client's own topic of events on a whole pipeline: exactly its events of mail.events."""

from __future__ import annotations

import itertools
import smtplib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import UnknownTopicOrPartitionError
from kafka.structs import TopicPartition
from msgspec import Struct

from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.topics import names
from shared.topics.codec import decode_event
from shared.topics.records import Event, EventType
from tests.support.chaos.witnesses import EventWatch, follow
from tests.support.fork_server import fork
from tests.support.front_door import PASSWORD, register, trusting
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

pytestmark = pytest.mark.xdist_group("own-events")

OWN, OTHER = "own", "other"
NAMES = (OWN, OTHER)


class Stage(Struct, frozen=True):
    stack: Stack
    events: EventWatch
    producer: KafkaProducer


def domain(client: str) -> str:
    return f"news.{client}.example"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("own-events")
    env = {"SLUICE_DELIVER__RETRY_TIME_SCALE": "0.001"}
    with Stack(
        StackOptions(
            name="own-events", start=fork, folder=folder, restart=False, is_lasting=False, env=env
        )
    ) as stack:
        clients = (
            Client(
                name,
                domain(name),
                "back@r.example.org",
                "standard",
                block_list=("blocked-*",),
                own_events=name == OWN,
            )
            for name in NAMES
        )
        register(stack.endpoints.kafka, *clients)
        events = EventWatch(stack.endpoints.kafka)
        producer = KafkaProducer(bootstrap_servers=stack.endpoints.kafka, metrics_enabled=False)
        yield Stage(stack, events, producer)
        producer.close(timeout=10)
        events.close()


def message(client: str, recipient: str, subject: str = "Hello") -> bytes:
    return (
        f"From: News <news@{domain(client)}>\r\nTo: {recipient}@r.example.net\r\n"
        f"Subject: {subject}\r\nMessage-ID: <{recipient}@{domain(client)}>\r\n\r\nHello\r\n"
    ).encode()


def hand_in(stage: Stage, client: str, content: bytes) -> None:
    stage.producer.send(names.intake(client), content).get(timeout=PATIENCE_S)


def submit(stage: Stage, client: str, recipient: str, content: bytes) -> int:
    assert stage.stack.endpoints.smtp is not None
    host, _, port = stage.stack.endpoints.smtp.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=PATIENCE_S) as smtp:
        smtp.ehlo()
        smtp.starttls(context=trusting())
        smtp.ehlo()
        smtp.login(client, PASSWORD)
        smtp.mail(f"news@{domain(client)}")
        smtp.rcpt(f"{recipient}@r.example.net")
        return smtp.data(content)[0]


def told(stage: Stage, client: str) -> Counter[EventType]:
    return Counter(event.type for event in stage.events.events(frozenset({client})))


def wait_for(stage: Stage, client: str, wanted: dict[EventType, int]) -> None:
    wait_until(lambda: told(stage, client) >= Counter(wanted), f"{client}: {wanted}")
    assert told(stage, client) == wanted


def records(stage: Stage, topic: str) -> list[Any]:
    """All current committed records of a topic."""
    consumer = follow(stage.stack.endpoints.kafka, topic)
    found: list[Any] = []
    ends = consumer.end_offsets(consumer.assignment())

    def is_behind(partition: TopicPartition) -> bool:
        return bool(consumer.position(partition) < ends[partition])

    while any(is_behind(partition) for partition in ends):
        for part in consumer.poll(timeout_ms=200).values():
            found += part
    consumer.close()
    return found


def has_a_copy(stage: Stage, topic: str) -> bool:
    return any(b"ok-last-" in one.value for one in records(stage, topic))


def as_written(found: list[Any]) -> Counter[Any]:
    return Counter((one.key, one.value, tuple(one.headers)) for one in found)


def of_client(found: list[Any], client: str) -> list[Any]:
    def is_its(record: Any) -> bool:
        event = decode_event(record.headers, record.value)
        return isinstance(event, Event) and event.data.client == client

    return [record for record in found if is_its(record)]


def topics(stage: Stage) -> set[str]:
    admin = KafkaAdminClient(bootstrap_servers=stage.stack.endpoints.kafka)
    found = set(admin.list_topics())
    admin.close()
    return found


def delete(stage: Stage, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stage.stack.endpoints.kafka)
    # On a slow machine its copies may be left out for a while, and it is not there again yet.
    with suppress(UnknownTopicOrPartitionError):
        admin.delete_topics([topic])
    admin.close()


def test_every_event_of_the_client_is_on_its_own_topic_and_nothing_else(stage: Stage) -> None:
    wait_until(lambda: names.own_events(OWN) in topics(stage), "the client's topic is there")
    for client in NAMES:
        for recipient in ("ok-kafka", "ok-kafka", "bounce-1", "defer-1-a", "blocked-1"):
            hand_in(stage, client, message(client, recipient))
        hand_in(stage, client, message(client, "ok-broken", ""))
        hand_in(stage, client, b"no message at all")
        for recipient in ("ok-smtp", "bounce-smtp"):
            assert submit(stage, client, recipient, message(client, recipient)) == 250
        assert submit(stage, client, "ok-dot", message(client, "ok-dot", "")) == 550
    wanted = {
        EventType.DELIVERED: 3,
        EventType.BOUNCED: 2,
        EventType.DEFERRED: 1,
        EventType.REFUSED: 3,
        EventType.SUPPRESSED: 1,
        EventType.DUPLICATE: 1,
        EventType.FORWARDED: 2,  # the reports on the two bounces
    }
    for client in NAMES:
        wait_for(stage, client, wanted)
        # The front door itself reports earlier duplicates.
        assert submit(stage, client, "ok-smtp", message(client, "ok-smtp")) == 250
        wait_for(stage, client, {**wanted, EventType.DUPLICATE: 2})
    public = records(stage, names.EVENTS)
    own = as_written(records(stage, names.own_events(OWN)))
    assert own == as_written(of_client(public, OWN))
    assert set(own.values()) == {1}
    assert own.total() == sum(wanted.values()) + 1
    assert names.own_events(OTHER) not in topics(stage)


def test_mail_goes_on_while_somebody_deletes_the_topic_and_copies_come_again(stage: Stage) -> None:
    topic = names.own_events(OWN)
    before = {client: told(stage, client)[EventType.DELIVERED] for client in NAMES}
    pids = stage.stack.pids()
    for part in range(3):
        for number in range(20):
            for client in NAMES:
                content = message(client, f"ok-{part}-{number}")
                stage.producer.send(names.intake(client), content)
            if number == 10:
                stage.producer.flush()
                delete(stage, topic)
        for client in NAMES:
            wanted = before[client] + 20 * (part + 1)

            def is_told(client: str = client, wanted: int = wanted) -> bool:
                return told(stage, client)[EventType.DELIVERED] == wanted

            wait_until(is_told, f"{client}: {wanted} delivered")
    numbers = itertools.count()

    def is_copied() -> bool:
        # Copies that are left out for a while come with the first event after that.
        hand_in(stage, OWN, message(OWN, f"ok-last-{next(numbers)}"))
        return topic in topics(stage) and has_a_copy(stage, topic)

    wait_until(is_copied, "a copy")
    own = as_written(records(stage, topic))
    # A transaction ends on each partition by itself.
    wait_until(lambda: not own - as_written(records(stage, names.EVENTS)), "no copy is alone")
    assert stage.stack.pids() == pids
