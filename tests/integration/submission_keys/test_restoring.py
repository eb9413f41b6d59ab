"""Submission keys after a loss: nothing is answered until they are restored from a real Kafka."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import redis
from kafka import KafkaProducer

from services.validate.edge import key_restorer
from services.validate.edge.key_restorer import KeyRestorer
from services.validate.edge.submission_keys import Run, SubmissionKeys
from shared.runtime.clock import SystemClock
from shared.settings.sections import KafkaSettings
from shared.store.eviction import Eviction
from shared.store.submissions import Claimed, NotWhole, Renewed, Submissions
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.stream.relay import NotReady
from shared.topics import names
from shared.topics.submission_keys import NEW, Duplicate, encode_claims, encode_record
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until
from tests.support.submission_keys import (
    M1,
    M2,
    RESERVED,
    WINDOW,
    WITHDRAWN_1,
    Keys,
    answers,
    claim,
    prepare,
)

# All tests share the keys of mail.submissions: one worker at a time.
pytestmark = pytest.mark.xdist_group("submission-keys")


def test_a_mark_is_no_obstacle_to_reading_the_keys_back(keys: Keys) -> None:
    prepare(keys, [RESERVED, WITHDRAWN_1, ("claim", claim(1, 1)), ("withdraw", claim(2, 2))])
    keys.client.hdel(keys.state, "generation")
    assert keys.store.begin("second") == "go"
    assert keys.store.restore("second", int(time.time()), encode_claims([claim(2, 2)]))
    assert keys.store.finish("second")
    assert answers(keys.store.claim([claim(2, 2), claim(1, 3)])) == (NEW, NEW)


def test_after_a_loss_nothing_is_answered_until_the_keys_are_whole(keys: Keys) -> None:
    keys.store.claim([claim(1, 1)])
    keys.client.delete(keys.state)
    assert isinstance(keys.store.claim([claim(1, 2)]), NotWhole)
    assert keys.door.reserve([claim(1, 2)]) == ()


def test_keys_of_another_kafka_are_not_whole(keys: Keys) -> None:
    keys.store.claim([claim(1, 1)])
    other = Submissions(keys.client, keys.state, WINDOW, "topic-2")
    assert isinstance(other.claim([]), NotWhole)
    assert other.begin("x") == "go"
    assert other.finish("x")
    assert answers(other.claim([claim(1, 2)])) == (NEW,)


def test_only_one_reads_the_keys_back_and_only_with_its_token(keys: Keys) -> None:
    assert keys.store.begin("second") == "whole"
    keys.client.delete(keys.state)
    assert keys.store.begin("second") == "go"
    assert keys.store.begin("third") == "taken"
    now = int(time.time())
    assert not keys.store.restore("third", now, b"")
    assert not keys.store.finish("third")
    for at, number in ((now, 1), (now - 24 * 3600, 2), (now - 70 * 3600, 3)):
        assert keys.store.restore("second", at, encode_claims([claim(number, number)]))
    assert keys.store.finish("second")
    asked = [claim(number, 9, 99) for number in (1, 2, 3)]
    assert answers(keys.store.claim(asked)) == (Duplicate(M1), Duplicate(M2), NEW)


def test_a_worker_learns_that_the_keys_were_read_back_since(keys: Keys) -> None:
    found = keys.store.claim([claim(1, 1)])
    assert isinstance(found, Claimed)
    keys.client.delete(keys.state)
    keys.store.begin("second")
    keys.store.finish("second")
    assert keys.store.claim([claim(1, 1)], found.generation) == Renewed("second")
    assert answers(keys.store.claim([claim(1, 1)], "second")) == (NEW,)


def test_writes_that_a_failover_lost_are_noticed(keys: Keys) -> None:
    found = keys.store.claim([claim(1, 1)], ends={3: 100})
    assert isinstance(found, Claimed)
    assert isinstance(keys.store.claim([], found.generation, seen={3: 100}), Claimed)
    keys.client.hset(keys.state, "seen:3", 90)
    assert isinstance(keys.store.claim([], found.generation, seen={3: 100}), NotWhole)
    assert isinstance(keys.store.claim([]), NotWhole)


@pytest.fixture
def written(kafka_bootstrap: str) -> Iterator[KafkaProducer]:
    plans = [p for p in names.plans(()) if p.name == names.SUBMISSIONS]
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), plans)
    producer = make_producer(ClientOptions(kafka_bootstrap, "keys-test"), "keys-test")
    producer.init_transactions()
    yield producer
    producer.close(timeout=5)


@pytest.fixture
def reader(kafka_bootstrap: str, client: redis.Redis) -> Iterator[KeyRestorer]:
    state = "{test:" + os.urandom(6).hex() + "}"
    options = ClientOptions(kafka_bootstrap, "keys-test")
    found = KeyRestorer(options, client, state, WINDOW, SystemClock())
    found.start()
    yield found
    found.close()


def test_all_that_was_committed_or_under_way_is_read_back(
    written: KafkaProducer, reader: KeyRestorer, client: redis.Redis
) -> None:
    base = int.from_bytes(os.urandom(5), "big")
    wait_until(lambda: not reader.fault(), "the keys are whole at the start")
    worker = SubmissionKeys(reader)
    assert worker.claim(Run([claim(base, 1)], {0: 1})) == [NEW]
    written.begin_transaction()
    written.send(names.SUBMISSIONS, encode_record([claim(base, 1)]))
    written.send(names.SUBMISSIONS, b"rubbish")
    written.commit_transaction()
    written.begin_transaction()
    written.send(names.SUBMISSIONS, encode_record([claim(base + 1, 2)])).get(timeout=PATIENCE_S)
    client.flushdb()
    with pytest.raises(NotReady):
        worker.claim(Run([claim(base + 5, 5)], {0: 2}))
    # The open transaction blocks the reader: nothing is answered before it has ended.
    with pytest.raises(NotReady):
        worker.claim(Run([claim(base + 5, 5)], {0: 2}))
    written.commit_transaction()
    wait_until(lambda: not reader.fault(), "the keys are read back")
    other = SubmissionKeys(reader)
    found = other.claim(Run([claim(base, 7, 77), claim(base + 1, 8, 88)], {1: 1}))
    assert found == [Duplicate(M1), Duplicate(M2)]


def test_no_key_is_used_before_it_is_known_whether_some_were_evicted(
    written: KafkaProducer, reader: KeyRestorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: not reader.fault(), "the keys are whole at the start")
    known, used = Submissions.forget_evicted, []

    def forget_evicted(store: Submissions, found: Eviction) -> bool:
        used.append(reader.store())
        return known(store, found)

    monkeypatch.setattr(key_restorer, "read_eviction", lambda _: Eviction("volatile-lru", "r", 1))
    wait_until(lambda: reader.store() is None, "the policy is seen")
    monkeypatch.setattr(Submissions, "forget_evicted", forget_evicted)
    monkeypatch.setattr(key_restorer, "read_eviction", lambda _: Eviction("noeviction", "r", 1))
    wait_until(lambda: reader.store() is not None, "the policy is safe again")
    assert used[0] is None


def test_a_worker_claims_its_last_batch_again_before_anything_else(
    written: KafkaProducer, reader: KeyRestorer, client: redis.Redis
) -> None:
    base = int.from_bytes(os.urandom(5), "big")
    wait_until(lambda: not reader.fault(), "the keys are whole at the start")
    worker = SubmissionKeys(reader)
    # Claimed, but its transaction has not started: Kafka has no trace of it.
    assert worker.claim(Run([claim(base, 1)], {0: 1})) == [NEW]
    # An open transaction blocks the reader: the keys are not whole before they are asked for.
    written.begin_transaction()
    written.send(names.SUBMISSIONS, encode_record([claim(base + 2, 4)])).get(timeout=PATIENCE_S)
    client.flushdb()
    with pytest.raises(NotReady):
        SubmissionKeys(reader).claim(Run([], {}))
    written.commit_transaction()
    wait_until(lambda: not reader.fault(), "the keys are read back")
    assert worker.claim(Run([claim(base + 1, 2), claim(base, 3, 33)], {0: 3})) == [
        NEW,
        Duplicate(M1),
    ]
