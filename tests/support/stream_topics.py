"""Topics that a test writes and reads completely, and waiting for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing

from kafka.errors import TopicAlreadyExistsError
from kafka.structs import TopicPartition

from shared.stream.client import ClientOptions, make_admin, make_consumer, make_producer
from shared.stream.transactions import Output, TransactionLost
from shared.topics import names
from shared.topics.records import Envelope, Facts, Origin
from tests.support.patience import PATIENCE_S

# A member notices a rebalance at its next heartbeat. The session is as long as in production.
HEARTBEAT_MS = 250
FEED_AT_ONCE = 4
Holds = Callable[[], bool]


def eventually(holds: Holds) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


def repeat_lost(step: Callable[[], object]) -> None:
    """Repeat a step while it loses its transaction, as a service does."""

    def is_done() -> bool:
        try:
            step()
        except TransactionLost:
            return False
        return True

    eventually(is_done)


def member(bootstrap: str, name: str, *, static: bool = False) -> ClientOptions:
    """Return the options of a member of a group that changes."""
    return ClientOptions(bootstrap, name, static=static, heartbeat_ms=HEARTBEAT_MS)


def publish(bootstrap: str, topic: str, outputs_: list[Output]) -> None:
    producer = make_producer(ClientOptions(bootstrap, "test"), None)
    for number, output in enumerate(outputs_):
        producer.send(topic, output.value, None, list(output.headers), number % 4)
    producer.flush()
    producer.close()


def submit_by_kafka(bootstrap: str, client: str, content: bytes) -> None:
    """Write a message to the intake of a client."""
    producer = make_producer(ClientOptions(bootstrap, "test"), None)
    producer.send(names.intake(client), content).get(timeout=PATIENCE_S)
    producer.close(timeout=5)


def publish_until(bootstrap: str, topic: str, outputs_: Iterable[Output], holds: Holds) -> int:
    """Publish gradually until the condition holds, so that late members find work; return the
    number of records."""
    producer = make_producer(ClientOptions(bootstrap, "test"), None)
    until = time.monotonic() + PATIENCE_S
    published = 0
    for output in outputs_:
        producer.send(topic, output.value, None, list(output.headers), published % 4)
        published += 1
        if published % FEED_AT_ONCE == 0:
            producer.flush()
            if holds():
                break
            assert time.monotonic() < until, "waited too long"
            time.sleep(0.1)
    producer.close()
    return published


def read_all(bootstrap: str, topic: str, expected: int) -> list[bytes]:
    """Return every committed value of the topic; read until no more values arrive."""
    consumer = make_consumer(ClientOptions(bootstrap, "test"), None)
    eventually(lambda: bool(consumer.partitions_for_topic(topic)))
    partitions = consumer.partitions_for_topic(topic)
    consumer.assign([TopicPartition(topic, each) for each in partitions])
    consumer.seek_to_beginning()
    values: list[bytes] = []
    quiet_since = time.monotonic()
    while len(values) < expected or time.monotonic() - quiet_since < 1.0:
        found = consumer.poll(timeout_ms=200)
        values += [record.value for part in found.values() for record in part]
        if found:
            quiet_since = time.monotonic()
        assert time.monotonic() - quiet_since < PATIENCE_S, f"only {len(values)} of {expected}"
    consumer.close()
    return values


def envelope(mail_id: str, due_at_ms: int = 0) -> Envelope:
    return Envelope(mail_id, "c", "", "c@d.example", "", 0, Origin(), Facts(), due_at_ms=due_at_ms)


def create_again(bootstrap: str, topic: str, partitions: int) -> None:
    """Delete a topic and create it again, without a pause."""
    wanted = {topic: {"num_partitions": partitions, "replication_factor": 1}}
    with closing(make_admin(ClientOptions(bootstrap, "test"), 10_000)) as admin:
        admin.delete_topics([topic])

        def is_created() -> bool:
            try:
                admin.create_topics(wanted)
            except TopicAlreadyExistsError:
                return False
            return True

        eventually(is_created)
