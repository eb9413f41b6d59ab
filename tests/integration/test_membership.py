"""Members that lose their membership, hand over partitions, or leave a transaction open."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream.client import (
    SESSION_TIMEOUT_MS,
    ClientOptions,
    make_producer,
)
from shared.stream.consumer import MembershipLost, StreamConsumer
from shared.stream.kafka_python.claims import request_rejoin
from shared.stream.kafka_python.closing import make_client
from shared.stream.open_transactions import Abandoned, OpenTransactions
from shared.stream.relay import Relay
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import Watchdog
from tests.support.patience import PATIENCE_S
from tests.support.running_worker import RunningWorker, ids_of_pack, pack_of
from tests.support.stream_topics import eventually, member, publish, read_all

PACKS = 8


def remove_members(bootstrap: str, group: str) -> int:
    """Make the broker remove every member, as if its session had timed out."""
    admin = make_client(KafkaAdminClient, bootstrap_servers=[bootstrap])
    try:
        members = admin.describe_groups([group])[group]["members"]
        admin.remove_group_members(
            group,
            [
                MemberToRemove(group_instance_id=member["group_instance_id"])
                if member["group_instance_id"]
                else MemberToRemove(member_id=member["member_id"])
                for member in members
            ],
        )
        return len(members)
    finally:
        admin.close()


def joined_consumer(options: ClientOptions, source: str) -> StreamConsumer:
    consumer = StreamConsumer(options, f"g.{source}", topics=(source,), keeps_claims=True)
    eventually(lambda: not consumer.poll(100, 1) and len(consumer.assignment()) == 4)
    return consumer


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("is_joining", [False, True], ids=["heartbeat", "join"])
def test_a_consumer_that_fell_out_of_its_group_says_so_however_it_learns_of_it(
    kafka_bootstrap: str, topics: tuple[str, str], static: bool, is_joining: bool
) -> None:
    # If the join, not the heartbeat, gets UNKNOWN_MEMBER_ID, kafka-python calls no callback.
    source, _ = topics
    options = member(kafka_bootstrap, "only", static=static)
    consumer = joined_consumer(options, source)
    assert consumer.membership() is not None
    assert remove_members(kafka_bootstrap, f"g.{source}") == 1
    if is_joining:
        request_rejoin(consumer._consumer)
    with pytest.raises(MembershipLost):
        eventually(lambda: bool(consumer.poll(100, 1)))
    with pytest.raises(MembershipLost):
        consumer.membership()
    assert not consumer.has_lease()
    consumer.close()


def test_a_commit_of_a_member_that_fell_out_of_its_group_is_refused(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # With the group metadata after the loss, (-1, ""), the broker accepts it from any process.
    source, target = topics
    options = member(kafka_bootstrap, "stale")
    consumer = joined_consumer(options, source)
    membership = consumer.membership()
    remove_members(kafka_bootstrap, f"g.{source}")
    with pytest.raises(MembershipLost):
        eventually(lambda: bool(consumer.poll(100, 1)))
    producer = TransactionalProducer(options, f"stale.{source}", Failpoints.none(), Watchdog())
    offsets = {TopicPartition(source, 0): OffsetAndMetadata(7, "", -1)}
    with pytest.raises(TransactionLost):
        producer.commit([Output(target, b"stale")], offsets, membership)
    producer.commit([Output(target, b"last")])
    producer.close()
    consumer.close()
    assert read_all(kafka_bootstrap, target, 1) == [b"last"]


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
def test_workers_that_fall_out_of_their_group_again_and_again_settle_each_message_once(
    kafka_bootstrap: str, topics: tuple[str, str], static: bool
) -> None:
    source, target = topics
    publish(kafka_bootstrap, source, [pack_of(source, number) for number in range(PACKS * 4)])
    wanted = [mail_id for number in range(PACKS * 4) for mail_id in ids_of_pack(number)]
    workers = [
        RunningWorker(kafka_bootstrap, name, source, target, static=static)
        for name in ("first", "second")
    ]
    for after in (200, 500, 900):
        eventually(lambda: sum(w.worker.status.settled for w in workers) > after)  # noqa: B023
        remove_members(kafka_bootstrap, f"g.{source}")
        eventually(lambda: bool(sum(w.worker.status.lost_memberships for w in workers)))
    values = read_all(kafka_bootstrap, target, len(wanted))
    for worker in workers:
        worker.end()
    assert Counter(values) == Counter(mail_id.encode() for mail_id in wanted)


def test_what_is_under_way_for_longer_than_a_session_is_sent_once_when_a_member_joins(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    source, target = topics
    publish(kafka_bootstrap, source, [pack_of(source, number) for number in range(PACKS)])
    wanted = [mail_id for number in range(PACKS) for mail_id in ids_of_pack(number)]
    slow = set(wanted[:: len(wanted) // 20])
    until = [float("inf")]
    first = RunningWorker(kafka_bootstrap, "first", source, target, static=False)
    first.is_slow = lambda job: job.message.envelope.mail_id in slow and time.monotonic() < until[0]
    eventually(lambda: len(first.attempted) == len(wanted))
    second = RunningWorker(kafka_bootstrap, "second", source, target, static=False)
    until[0] = time.monotonic() + 1.5 * SESSION_TIMEOUT_MS / 1000
    values = read_all(kafka_bootstrap, target, len(wanted))
    more = [pack_of(source, number) for number in range(PACKS, 2 * PACKS)]
    publish(kafka_bootstrap, source, more)
    eventually(lambda: second.worker.status.settled > 0)
    for worker in (first, second):
        worker.end()
        assert worker.worker.status.lost_memberships == 0
    assert Counter(values) == Counter(mail_id.encode() for mail_id in wanted)
    repeated = Counter(first.attempted + second.attempted) - Counter(
        set(first.attempted + second.attempted)
    )
    assert not repeated


def test_the_open_transaction_of_a_dead_process_does_not_hold_up_one_of_another_name(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    source, target = topics
    publish(kafka_bootstrap, source, [Output(source, b"%d" % number) for number in range(20)])
    group = f"g.{source}"
    dead = StreamConsumer(member(kafka_bootstrap, "dead"), group, topics=(source,))
    eventually(lambda: bool(dead.poll(100, 1)))
    producer = make_producer(member(kafka_bootstrap, "dead"), f"sluice.test.{source}")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(target, b"never committed")
    offsets = {TopicPartition(source, number): OffsetAndMetadata(5, "", -1) for number in range(4)}
    producer.send_offsets_to_transaction(offsets, dead.membership())
    producer.flush()
    dead.close()

    options = member(kafka_bootstrap, "successor")
    stop = Stop()
    relay = Relay(
        "ingest",
        lambda: StreamConsumer(options, group, topics=(source,)),
        TransactionalProducer(options, f"successor.{source}", Failpoints.none(), Watchdog()),
        lambda records: [Output(target, record.value) for record in records],
        Failpoints.none(),
    )
    thread = threading.Thread(target=relay.run, args=(stop,), daemon=True)
    thread.start()
    eventually(lambda: "an open transaction holds them" in relay.status.waiting_for)
    with OpenTransactions(options, Abandoned(2.0)):
        values = read_all(kafka_bootstrap, target, 20)
    stop.set()
    thread.join(PATIENCE_S)
    producer.close(timeout=0)
    assert sorted(values) == sorted(b"%d" % number for number in range(20))


def test_outcomes_are_written_while_another_member_holds_the_rebalance_up(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # A member that heartbeats but does not join keeps all others waiting for up to a minute.
    source, target = topics
    group = f"g.{source}"
    publish(kafka_bootstrap, source, [pack_of(source, number) for number in range(4)])
    wanted = [mail_id for number in range(4) for mail_id in ids_of_pack(number)]
    is_held = threading.Event()
    is_held.set()
    worker = RunningWorker(kafka_bootstrap, "worker", source, target, static=False)
    worker.is_slow = lambda job: is_held.is_set()
    eventually(lambda: len(worker.attempted) == len(wanted))
    stuck = StreamConsumer(member(kafka_bootstrap, "stuck"), group, topics=(source,))
    eventually(lambda: not stuck.poll(100, 1) and stuck.membership() is not None)
    late = StreamConsumer(member(kafka_bootstrap, "late"), group, topics=(source,))
    late.poll(3_000, 1)
    assert late.membership() is None, "the rebalance is held up"
    is_held.clear()
    eventually(lambda: worker.worker.status.settled == len(wanted))
    late.poll(2_000, 1)
    assert late.membership() is None, "it still is"
    stuck.close()
    late.close()
    worker.end()


def test_a_member_whose_polls_are_short_and_far_apart_takes_up_each_join_once(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # kafka-python throws a join away that ended between two polls, and begins another one: the
    # group never came to rest, and each commit was refused for its old generation.
    source, _ = topics
    rare = joined_consumer(member(kafka_bootstrap, "rare"), source)
    stop = Stop()

    def poll_often() -> None:
        often = StreamConsumer(member(kafka_bootstrap, "often"), f"g.{source}", topics=(source,))
        while not stop.is_set():
            often.poll(100, 1)
            assigned.append(often.assignment())
        often.close()

    assigned: list[set[TopicPartition]] = []
    thread = threading.Thread(target=poll_often, daemon=True)
    thread.start()

    def poll_once() -> int:
        rare.poll(20, 1)
        rare.release(rare.take_revoked())
        time.sleep(1.0)
        membership = rare.membership()
        return membership.generation_id if membership is not None else -1

    eventually(lambda: poll_once() > 0 and bool(assigned and assigned[-1]))
    generations = {poll_once() for _ in range(4)}
    stop.set()
    thread.join(PATIENCE_S)
    rare.close()
    assert len(generations) == 1, "the group has come to rest"


def test_a_join_that_failed_between_two_polls_is_sent_again(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    source, _ = topics
    consumer = joined_consumer(member(kafka_bootstrap, "only"), source)
    membership = consumer.membership()
    assert membership is not None
    coordinator = consumer._consumer._coordinator
    failed = Future()
    failed.failure(KafkaTimeoutError("as a broker that restarts"))
    request_rejoin(consumer._consumer)
    coordinator.state, coordinator.rejoining = MemberState.REBALANCING, True
    coordinator._join_task = failed

    def has_joined() -> bool:
        consumer.poll(20, 1)
        found = consumer.membership()
        return found is not None and found.generation_id > membership.generation_id

    eventually(has_joined)
    consumer.close()
