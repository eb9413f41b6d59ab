"""The view of suppressed recipients in a real Redis, kept up to date from a real Kafka."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence

import pytest
import redis
from msgspec import Struct

from services.validate.edge.suppression_view import SuppressionFollower, SuppressionView
from shared.runtime.clock import SystemClock
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.suppressions import (
    SuppressionStore,
    ViewApplied,
    ViewOfOtherLog,
    ViewStale,
    encode_entry,
)
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.stream.relay import NotReady
from shared.topics import names
from shared.topics.suppressions import (
    PARTITION,
    REASONS,
    Suppression,
    SuppressionReason,
    bit_of,
    encode_suppression,
    field_of,
    fields_of,
)
from tests.support.patience import PATIENT
from tests.support.smtp_peers import wait_until
from tests.support.suppressed import entry

ANNA, BEN = "anna@example.com", "ben@example.com"
COMPLAINT, MANUAL = SuppressionReason.COMPLAINT, SuppressionReason.MANUAL


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    found = connect(RedisSettings(url=redis_url), decode_responses=False, **PATIENT)
    yield found
    found.close()


@pytest.fixture
def key() -> str:
    return "{test:" + os.urandom(6).hex() + "}"


@pytest.fixture
def store(client: redis.Redis, key: str) -> SuppressionStore:
    return SuppressionStore(client, key)


def entries(*records: Suppression) -> list[bytes]:
    return list(map(encode_entry, records))


def bits(store: SuppressionStore, recipient: str, least: int = 0) -> int:
    found = store.find("t", least, field_of("shop", recipient))
    assert found is not None
    return found[0]


def test_records_are_applied_once_and_in_order(store: SuppressionStore) -> None:
    assert store.apply("t", -1, 2, entries(entry(ANNA), entry(BEN))) == ViewApplied()
    assert store.apply("t", -1, 2, entries(entry(ANNA, active=False))) == ViewStale(2)
    assert store.apply("t", 2, 3, entries(entry(ANNA, COMPLAINT))) == ViewApplied()
    assert bits(store, ANNA) == bit_of(MANUAL) | bit_of(COMPLAINT)
    assert store.apply("t", 3, 4, entries(entry(ANNA, active=False))) == ViewApplied()
    assert bits(store, ANNA) == bit_of(COMPLAINT)
    assert bits(store, BEN) == bit_of(MANUAL)
    assert bits(store, "c@example.com") == 0


def test_the_view_of_another_topic_is_neither_used_nor_changed(store: SuppressionStore) -> None:
    store.apply("t", -1, 1, entries(entry(ANNA)))
    assert store.apply("u", 1, 2, entries(entry(ANNA, active=False))) == ViewOfOtherLog("t")
    assert store.find("u", 0, field_of("shop", ANNA)) is None
    assert bits(store, ANNA) == bit_of(MANUAL)


def test_a_view_that_is_missing_or_not_that_far_gives_no_answers(store: SuppressionStore) -> None:
    assert store.find("t", 0, fields_of("shop", ANNA)) is None
    store.apply("t", -1, 5)
    assert store.find("t", 6, fields_of("shop", ANNA)) is None
    assert store.find("t", 5, fields_of("shop", ANNA)) == bytes(2)


def test_removed_entries_leave_nothing_behind(
    client: redis.Redis, store: SuppressionStore, key: str
) -> None:
    store.apply("t", -1, 1, entries(entry(ANNA)))
    store.apply("t", 1, 2, entries(entry(ANNA, active=False)))
    assert set(client.hkeys(key)) == {b"log", b"watermark"}


def test_many_records_of_few_recipients_leave_what_one_after_the_other_would(
    store: SuppressionStore,
) -> None:
    chance = random.Random(5)
    wanted: dict[str, int] = {}
    records = []
    for _ in range(4_500):  # more than the script reads at a time
        recipient, reason = f"{chance.randrange(900)}@example.com", chance.choice(REASONS)
        is_active = chance.random() < 0.6
        bit, before = bit_of(reason), wanted.get(recipient, 0)
        wanted[recipient] = before | bit if is_active else before & ~bit
        records.append(entry(recipient, reason, active=is_active))
    assert store.apply("t", -1, 4_500, entries(*records)) == ViewApplied()
    found = store.find("t", 4_500, b"".join(field_of("shop", each) for each in wanted))
    assert found == bytes(wanted.values())


class Topic(Struct, frozen=True):
    bootstrap: str
    name: str

    def publish(self, records: Sequence[Suppression | bytes]) -> None:
        producer = make_producer(ClientOptions(self.bootstrap, "test"), None)
        for record in records:
            key, value = (b"k", record) if isinstance(record, bytes) else encode_suppression(record)
            producer.send(self.name, value, key, [], PARTITION)
        producer.flush()
        producer.close()


@pytest.fixture
def topic(kafka_bootstrap: str) -> Topic:
    name = f"test.suppressions.{time.time_ns()}"
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), [names.TopicPlan(name, 1, {})])
    return Topic(kafka_bootstrap, name)


def follow(topic: Topic, store: SuppressionStore) -> SuppressionFollower:
    options = ClientOptions(topic.bootstrap, "test")
    follower = SuppressionFollower(options, store, SystemClock(), topic.name)
    follower.start()
    return follower


def find(follower: SuppressionFollower, *recipients: str) -> list[int]:
    """The bits of each recipient, as soon as the view can be used."""
    view = SuppressionView(follower, SystemClock())
    asked = b"".join(field_of("shop", each) for each in recipients)
    found: list[bytes] = []

    def is_answered() -> bool:
        try:
            found.append(view.find(asked))
        except NotReady:
            return False
        return True

    wait_until(is_answered, "the view is complete")
    return list(found[-1])


def test_an_entry_is_in_force_shortly_after_it_was_written(
    topic: Topic, store: SuppressionStore
) -> None:
    follower = follow(topic, store)
    try:
        assert find(follower, ANNA) == [0]
        topic.publish([entry(ANNA)])
        wait_until(lambda: find(follower, ANNA) == [bit_of(MANUAL)], "it is in force")
    finally:
        follower.close()


def test_an_emptied_redis_is_restored_and_no_recipient_is_missed_meanwhile(
    topic: Topic, client: redis.Redis, store: SuppressionStore, key: str
) -> None:
    topic.publish([entry(f"{number}@example.com") for number in range(20_000)])
    topic.publish([entry(ANNA, COMPLAINT), entry(ANNA), entry(ANNA, active=False)])
    follower = follow(topic, store)
    try:
        wanted = [bit_of(COMPLAINT), bit_of(MANUAL), bit_of(MANUAL), 0]
        asked = (ANNA, "0@example.com", "19999@example.com", BEN)
        assert find(follower, *asked) == wanted
        before = client.hgetall(key)
        for _ in range(3):
            client.delete(key)
            # Every answer of a view that is being restored is the right one.
            assert find(follower, *asked) == wanted
        assert client.hgetall(key) == before
    finally:
        follower.close()


def test_several_processes_keep_one_view(topic: Topic, store: SuppressionStore) -> None:
    followers = [follow(topic, store) for _ in range(3)]
    try:
        topic.publish([entry(f"{number}@example.com") for number in range(2_000)])
        topic.publish([entry("0@example.com", active=False)])
        for each in followers:
            wait_until(
                lambda each=each: (
                    find(each, "0@example.com", "1999@example.com")  # type: ignore[misc]
                    == [0, bit_of(MANUAL)]
                ),
                "all records are applied",
            )
    finally:
        for each in followers:
            each.close()


def test_a_record_that_cannot_be_read_stops_no_other(topic: Topic, store: SuppressionStore) -> None:
    bad_hash = b'{"type":"suppression","client":"c","reason":"manual","recipient":"x","form":"md5"}'
    topic.publish([b"{", bad_hash, entry(ANNA)])
    follower = follow(topic, store)
    try:
        wait_until(lambda: find(follower, ANNA) == [bit_of(MANUAL)], "it is in force")
        assert follower.unreadable == 2
    finally:
        follower.close()


def test_a_topic_that_was_created_again_needs_an_operator(
    topic: Topic, store: SuppressionStore
) -> None:
    store.apply("another-topic", -1, 9, entries(entry(ANNA)))
    follower = follow(topic, store)
    try:
        wait_until(lambda: "created again" in follower.fault(), "the fault is shown")
        with pytest.raises(NotReady, match="created again"):
            SuppressionView(follower, SystemClock()).find(field_of("shop", ANNA))
        store.drop()
        assert find(follower, ANNA) == [0]
    finally:
        follower.close()
