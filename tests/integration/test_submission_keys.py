"""The submission keys in a real Redis, and restored into it from a real Kafka."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from random import Random

import pytest
import redis
from kafka import KafkaProducer
from msgspec import Struct
from msgspec.structs import replace

from services.ingest.edge.front_door.reservations import ReservedKeys
from services.validate.edge.key_restorer import KeyRestorer
from services.validate.edge.submission_keys import Run, SubmissionKeys
from shared.runtime.clock import SystemClock
from shared.settings.sections import RedisSettings
from shared.store.client import connect
from shared.store.submissions import (
    Claimed,
    NotWhole,
    Renewed,
    Reservations,
    Submissions,
    Window,
)
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.stream.relay import NotReady
from shared.topics import ids, names
from shared.topics.submission_keys import (
    NEW,
    WITHDRAWN,
    Answer,
    Claim,
    Conflict,
    Duplicate,
    Reserved,
    encode_claims,
    encode_record,
)
from tests.support.smtp_peers import wait_until
from tests.support.submissions import MESSAGE, OWN

WINDOW = Window(48 * 3600, 10_000)
# All tests share the keys of mail.submissions: one worker at a time.
pytestmark = pytest.mark.xdist_group("submission-keys")


class Keys(Struct, frozen=True):
    client: redis.Redis
    state: str
    store: Submissions
    door: Reservations


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    found = connect(redis_url, decode_responses=False)
    yield found
    found.close()


@pytest.fixture
def keys(client: redis.Redis) -> Keys:
    """Complete and empty."""
    state = "{test:" + os.urandom(6).hex() + "}"
    store = Submissions(client, state, WINDOW, "topic-1")
    assert isinstance(store.claim([]), NotWhole)
    assert store.begin("first") == "go"
    assert store.finish("first")
    return Keys(client, state, store, Reservations(client, state))


def claim(key: int, mail: int, place: int = 0, content: bytes = b"same") -> Claim:
    return Claim(Random(key).randbytes(11), mail.to_bytes(16, "big"), content, place or mail)


def answers(found: object) -> tuple[Answer, ...]:
    assert isinstance(found, Claimed)
    return found.answers


def prepare(keys: Keys, before: Sequence[tuple[str, Claim]]) -> None:
    for verb, made in before:
        if verb == "claim":
            keys.store.claim([made])
        elif verb == "reserve":
            keys.door.reserve([made])
        else:
            keys.door.withdraw([made])


M1, M2 = (1).to_bytes(16, "big"), (2).to_bytes(16, "big")

# The previous commands, then the request and its answer.
Cases = dict[str, tuple[list[tuple[str, Claim]], Claim, Answer]]
RESERVED, WITHDRAWN_1 = ("reserve", claim(1, 1)), ("withdraw", claim(1, 1))
CLAIMS: Cases = {
    "a free key": ([], claim(1, 1), NEW),
    "another key": ([("claim", claim(2, 2))], claim(1, 1), NEW),
    "the same record again": ([("claim", claim(1, 1))], claim(1, 1), NEW),
    "the same content from elsewhere": ([("claim", claim(1, 1))], claim(1, 2), Duplicate(M1)),
    "the same mail id from elsewhere": ([("claim", claim(1, 1))], claim(1, 1, 9), Duplicate(M1)),
    "another content": ([("claim", claim(1, 1))], claim(1, 2, 0, b"diff"), Conflict(M1)),
    "reserved by itself": ([("reserve", claim(1, 1))], claim(1, 1), NEW),
    "reserved by one never written": ([("reserve", claim(1, 1))], claim(1, 2), NEW),
    "reserved for another content": ([("reserve", claim(1, 1))], claim(1, 2, 0, b"diff"), NEW),
    "withdrawn": ([RESERVED, WITHDRAWN_1], claim(1, 1), WITHDRAWN),
    "withdrawn, though Redis knew nothing of it": ([WITHDRAWN_1], claim(1, 1), WITHDRAWN),
    "withdrawn twice": ([RESERVED, WITHDRAWN_1, WITHDRAWN_1], claim(1, 1), WITHDRAWN),
    "withdrawn, another one read first": ([RESERVED, WITHDRAWN_1], claim(1, 2), NEW),
    "withdrawn by one of two that wait for it": (
        [RESERVED, RESERVED, WITHDRAWN_1],
        claim(1, 1),
        NEW,
    ),
    "withdrawn by both": (
        [RESERVED, RESERVED, WITHDRAWN_1, WITHDRAWN_1],
        claim(1, 1),
        WITHDRAWN,
    ),
    "withdrawn and handed in again": ([RESERVED, WITHDRAWN_1, RESERVED], claim(1, 1), NEW),
    "withdrawn, handed in again and withdrawn again": (
        [RESERVED, WITHDRAWN_1, RESERVED, WITHDRAWN_1],
        claim(1, 1),
        WITHDRAWN,
    ),
    "withdrawn under another mail id": ([RESERVED, ("withdraw", claim(1, 2))], claim(1, 1), NEW),
    "withdrawn for another content": (
        [RESERVED, ("withdraw", claim(1, 2, 0, b"diff"))],
        claim(1, 1),
        NEW,
    ),
    "withdrawn too late": ([("claim", claim(1, 1)), WITHDRAWN_1], claim(1, 1), NEW),
    "a second copy of one that was cancelled": (
        [RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))],
        claim(1, 1, 9),
        Duplicate(M1),
    ),
    "handed in again after it was cancelled": (
        [RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))],
        claim(1, 2),
        NEW,
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_of_two_records_with_one_key_the_first_claim_goes_on(keys: Keys, name: str) -> None:
    before, asked, expected = CLAIMS[name]
    prepare(keys, before)
    assert answers(keys.store.claim([asked])) == (expected,)
    # The second answer is the same: the record may be read twice.
    assert answers(keys.store.claim([asked])) == (expected,)


def renamed(mail: int, place: int = 0, content: bytes = b"same", raw: bytes = b"same") -> Claim:
    """A claim of key 1, which an older version would have stored as key 9 with this raw content."""
    return replace(claim(1, mail, place, content), former=claim(9, mail).key + raw)


FORMERS: Cases = {
    "nothing stored": ([], renamed(1), NEW),
    "the same message under its old key": ([("claim", claim(9, 1))], renamed(2), Duplicate(M1)),
    "the same record, claimed and not committed": ([("claim", claim(9, 1))], renamed(1), NEW),
    "the same message, stored with other line ends": (
        [("claim", claim(9, 1, 0, b"bare"))],
        renamed(2, raw=b"bare"),
        Duplicate(M1),
    ),
    "another system's message under the old key": (
        [("claim", claim(9, 1, 0, b"diff"))],
        renamed(2),
        NEW,
    ),
    "old and new key": (
        [("claim", claim(9, 1, 0, b"diff")), ("claim", renamed(2))],
        renamed(3),
        Duplicate(M2),
    ),
    "another message under the new key": (
        [("claim", renamed(1))],
        renamed(2, content=b"diff", raw=b"diff"),
        Conflict(M1),
    ),
    "one key, stored with other line ends": (
        [("claim", claim(1, 1, 0, b"bare"))],
        replace(claim(1, 2), former=claim(1, 2).key + b"bare"),
        Duplicate(M1),
    ),
    "one key, another message stored": (
        [("claim", claim(1, 1, 0, b"diff"))],
        replace(claim(1, 2), former=claim(1, 2).key + b"bare"),
        Conflict(M1),
    ),
}


@pytest.mark.parametrize("name", FORMERS)
def test_what_an_older_version_stored_is_known(keys: Keys, name: str) -> None:
    before, asked, expected = FORMERS[name]
    prepare(keys, before)
    # Next to a key that was stored in only one form.
    for _ in range(2):
        assert answers(keys.store.claim([claim(5, 5), asked]))[1] == expected


def test_what_an_older_version_stored_ends_when_it_would_have(keys: Keys) -> None:
    made = int(time.time()) - 36 * 3600
    keys.client.hdel(keys.state, "generation")
    assert keys.store.begin("second") == "go"
    assert keys.store.restore("second", made, encode_claims([claim(9, 1)]))
    assert keys.store.finish("second")
    for _ in range(2):
        assert answers(keys.store.claim([renamed(2)])) == (Duplicate(M1),)
    found = [name for name in keys.client.scan_iter(keys.state + ":*") if name.count(b":") > 3]
    assert found
    for name in found:
        assert keys.client.ttl(name) <= 24 * 3600


RESERVATIONS: Cases = {
    "a free key": ([], claim(1, 1), NEW),
    "reserved, nobody knows whether written": (
        [("reserve", claim(1, 1))],
        claim(1, 2),
        Reserved(M1),
    ),
    "reserved for another content, never written": (
        [("reserve", claim(1, 1))],
        claim(1, 2, 0, b"diff"),
        NEW,
    ),
    "written": ([("claim", claim(1, 1))], claim(1, 2), Duplicate(M1)),
    "written, another content": ([("claim", claim(1, 1))], claim(1, 2, 0, b"diff"), Conflict(M1)),
    "withdrawn, nobody knows whether written": (
        [RESERVED, WITHDRAWN_1],
        claim(1, 2),
        Reserved(M1),
    ),
    "withdrawn, another content": ([RESERVED, WITHDRAWN_1], claim(1, 2, 0, b"diff"), NEW),
    "cancelled": ([RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))], claim(1, 2), NEW),
}


@pytest.mark.parametrize("name", RESERVATIONS)
def test_the_front_door_learns_of_the_first_before_it_writes(keys: Keys, name: str) -> None:
    before, asked, expected = RESERVATIONS[name]
    prepare(keys, before)
    assert keys.door.reserve([asked]) == (expected,)


WITHDRAWALS: Cases = {
    "reserved": ([RESERVED], claim(1, 1), NEW),
    "unknown": ([], claim(1, 1), NEW),
    "read meanwhile": ([RESERVED, ("claim", claim(1, 1))], claim(1, 1), Duplicate(M1)),
    "the same content read meanwhile": ([("claim", claim(1, 1))], claim(1, 2), Duplicate(M1)),
    "another content read meanwhile": ([("claim", claim(1, 1))], claim(1, 2, 0, b"diff"), NEW),
    "cancelled meanwhile": ([RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))], claim(1, 1), NEW),
}


@pytest.mark.parametrize("name", WITHDRAWALS)
def test_who_withdraws_learns_whether_it_goes_on_all_the_same(keys: Keys, name: str) -> None:
    before, asked, expected = WITHDRAWALS[name]
    prepare(keys, before)
    assert keys.door.withdraw([asked]) == (expected,)


def test_what_very_many_wait_for_is_counted_no_more_and_goes_on(keys: Keys) -> None:
    prepare(keys, [RESERVED] * 300 + [WITHDRAWN_1] * 300)
    assert answers(keys.store.claim([claim(1, 1)])) == (NEW,)


def test_a_mark_is_no_obstacle_to_reading_the_keys_back(keys: Keys) -> None:
    prepare(keys, [RESERVED, WITHDRAWN_1, ("claim", claim(1, 1)), ("withdraw", claim(2, 2))])
    keys.client.hdel(keys.state, "generation")
    assert keys.store.begin("second") == "go"
    assert keys.store.restore("second", int(time.time()), encode_claims([claim(2, 2)]))
    assert keys.store.finish("second")
    assert answers(keys.store.claim([claim(2, 2), claim(1, 3)])) == (NEW, NEW)


def test_within_one_call_the_first_of_two_equal_keys_is_the_first(keys: Keys) -> None:
    found = keys.store.claim([claim(1, 1), claim(2, 3), claim(1, 2)])
    assert answers(found) == (NEW, NEW, Duplicate(M1))
    assert keys.door.reserve([claim(5, 1), claim(5, 2)]) == (NEW, Reserved(M1))


def test_of_many_claims_at_once_exactly_one_is_new(keys: Keys, redis_url: str) -> None:
    found: list[Answer] = []

    def run(number: int) -> None:
        client = connect(redis_url, decode_responses=False)
        store = Submissions(client, keys.state, WINDOW, "topic-1")
        for key in range(50):
            found.extend(answers(store.claim([claim(key, number)])))
        client.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert found.count(NEW) == 50


def test_every_key_ends_with_its_window(keys: Keys) -> None:
    keys.store.claim([claim(key, 1 + key) for key in range(100)])
    keys.door.reserve([claim(1_000, 1)])
    buckets = [name for name in keys.client.scan_iter(keys.state + ":*") if name.count(b":") > 3]
    assert buckets
    for name in buckets:
        assert 48 * 3600 < keys.client.ttl(name) <= 60 * 3600


def test_a_key_takes_less_than_forty_bytes_when_the_layout_fits(keys: Keys) -> None:
    client, full = keys.client, Window(48 * 3600, 400_000)
    store = Submissions(client, keys.state, full, "topic-1")
    before = client.info("memory")["used_memory"]
    random = Random(7)
    for _ in range(200):
        store.claim([Claim(random.randbytes(11), M1, b"abcd", 1 + n) for n in range(1_000)])
    assert (client.info("memory")["used_memory"] - before) / 200_000 < 40


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


# -- restored from Kafka


@pytest.fixture
def written(kafka_bootstrap: str) -> Iterator[KafkaProducer]:
    ensure_topics(kafka_bootstrap, [p for p in names.plans(()) if p.name == names.SUBMISSIONS])
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
    wait_until(lambda: not reader.fault(), "the keys are whole at the start", 30)
    worker = SubmissionKeys(reader)
    assert worker.claim(Run([claim(base, 1)], {0: 1})) == [NEW]
    written.begin_transaction()
    written.send(names.SUBMISSIONS, encode_record([claim(base, 1)]))
    written.send(names.SUBMISSIONS, b"rubbish")
    written.commit_transaction()
    written.begin_transaction()
    written.send(names.SUBMISSIONS, encode_record([claim(base + 1, 2)])).get(timeout=20)
    client.flushdb()
    with pytest.raises(NotReady):
        worker.claim(Run([claim(base + 5, 5)], {0: 2}))
    # The open transaction blocks the reader: nothing is answered before it has ended.
    with pytest.raises(NotReady):
        worker.claim(Run([claim(base + 5, 5)], {0: 2}))
    written.commit_transaction()
    wait_until(lambda: not reader.fault(), "the keys are read back", 30)
    other = SubmissionKeys(reader)
    found = other.claim(Run([claim(base, 7, 77), claim(base + 1, 8, 88)], {1: 1}))
    assert found == [Duplicate(M1), Duplicate(M2)]


def test_a_worker_claims_its_last_batch_again_before_anything_else(
    written: KafkaProducer, reader: KeyRestorer, client: redis.Redis
) -> None:
    base = int.from_bytes(os.urandom(5), "big")
    wait_until(lambda: not reader.fault(), "the keys are whole at the start", 30)
    worker = SubmissionKeys(reader)
    # Claimed, but its transaction has not started: Kafka has no trace of it.
    assert worker.claim(Run([claim(base, 1)], {0: 1})) == [NEW]
    client.flushdb()
    with pytest.raises(NotReady):
        SubmissionKeys(reader).claim(Run([], {}))
    wait_until(lambda: not reader.fault(), "the keys are read back", 30)
    assert worker.claim(Run([claim(base + 1, 2), claim(base, 3, 33)], {0: 3})) == [
        NEW,
        Duplicate(M1),
    ]


# -- the front door without Redis


@pytest.fixture(params=["nobody there", "says nothing"])
def lame_redis(request: pytest.FixtureRequest) -> Iterator[RedisSettings]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = RedisSettings(url=f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        if request.param == "says nothing":
            yield settings
            return
    yield settings


def test_without_redis_every_message_is_new_to_the_front_door(lame_redis: RedisSettings) -> None:
    keys = ReservedKeys(lame_redis)
    for _ in range(2):  # the second is not even requested
        assert list(keys.reserve([MESSAGE, MESSAGE])) == [NEW, NEW]


def test_the_front_door_asks_again_once_redis_is_whole(redis_url: str, client: redis.Redis) -> None:
    state = "{test:" + os.urandom(6).hex() + "}"
    keys = ReservedKeys(RedisSettings(url=redis_url, submissions_key=state))
    assert list(keys.reserve([MESSAGE])) == [NEW]
    store = Submissions(client, state, WINDOW, "topic-1")
    store.begin("first")
    store.finish("first")
    assert list(keys.reserve([MESSAGE, MESSAGE])) == [NEW, Reserved(ids.to_bytes(OWN))]
