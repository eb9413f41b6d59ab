"""Messages that take long do not hold up their partition when members of a group change."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from kafka.structs import TopicPartition

from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.jobs import Job
from shared.stream.ledger import MAX_OPEN_PACKS
from shared.stream.transactions import TransactionalProducer, TransactionLost
from shared.topics.codec import PACK_MAX_MESSAGES
from shared.topics.names import TopicPlan
from tests.support.running_worker import RunningWorker, ids_of_pack, pack_of
from tests.support.stream_topics import eventually, publish, publish_until, read_all

PACKS = 12

with_either_membership = pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])


# A pack holds up its partition as long as one of its messages takes, however many it has.
SMALL_PACK = 8


def mail_ids(packs: Iterable[int], size: int = PACK_MAX_MESSAGES) -> list[str]:
    return [mail_id for number in packs for mail_id in ids_of_pack(number, size)]


# Every twentieth message of the first packs.
SLOW = set(mail_ids(range(PACKS))[::20])


class Group:
    """Workers of one group, and servers that take their time for the messages of SLOW."""

    def __init__(self, bootstrap: str, topics: tuple[str, str]) -> None:
        self._bootstrap = bootstrap
        self._source, self._target = topics
        self.shelf = f"{self._source}.handover"
        ensure_topics(KafkaSettings(bootstrap=bootstrap), [TopicPlan(self.shelf, 4, {})])
        self._has_slow_servers = True
        self.slow = SLOW
        self._workers: list[RunningWorker] = []
        # The number of the next pack to publish.
        self.end_of_packs = PACKS

    def start(self, name: str, **options: Any) -> RunningWorker:
        worker = RunningWorker(
            self._bootstrap, name, self._source, self._target, shelf=self.shelf, **options
        )
        worker.is_slow = self._is_slow
        self._workers.append(worker)
        return worker

    def _is_slow(self, job: Job) -> bool:
        return self._has_slow_servers and job.message.envelope.mail_id in self.slow

    def publish(self, numbers: Iterable[int], size: int = PACK_MAX_MESSAGES) -> None:
        packs = [pack_of(self._source, number, size) for number in numbers]
        publish(self._bootstrap, self._source, packs)

    def publish_until(self, holds: Callable[[], bool]) -> None:
        """Publish further packs until the condition holds."""
        more = (pack_of(self._source, number) for number in itertools.count(self.end_of_packs))
        self.end_of_packs += publish_until(self._bootstrap, self._source, more, holds)

    def start_with_work(self, name: str, **options: Any) -> RunningWorker:
        """A further worker that has finished some messages."""
        worker = self.start(name, **options)
        self.publish_until(lambda: worker.worker.status.settled > 0)
        return worker

    def release(self) -> None:
        """The servers are quick from now on."""
        self._has_slow_servers = False

    def assert_finished(self, wanted: list[str]) -> None:
        values = read_all(self._bootstrap, self._target, len(wanted))
        assert Counter(values) == Counter(mail_id.encode() for mail_id in wanted)

    def end(self) -> None:
        for worker in self._workers:
            worker.end()

    def assert_attempted_once(self, wanted: list[str]) -> None:
        attempted = [mail_id for worker in self._workers for mail_id in worker.attempted]
        assert Counter(attempted) == Counter(wanted)


@pytest.fixture
def group(kafka_bootstrap: str, topics: tuple[str, str]) -> Group:
    return Group(kafka_bootstrap, topics)


def start_first(group: Group, **options: Any) -> RunningWorker:
    """A worker in which only the slow messages are in flight any more."""
    group.publish(range(PACKS))
    first = group.start("first", **options)
    eventually(lambda: first.worker.status.in_flight == len(SLOW))
    return first


@with_either_membership
def test_a_member_that_joins_reads_its_share_while_messages_of_it_still_take_their_time(
    group: Group, static: bool
) -> None:
    first = start_first(group, static=static)
    second = group.start("second", static=static)
    group.publish_until(lambda: second.worker.status.settled > 0)
    assert first.worker.status.in_flight >= len(SLOW), "they are still on their way"
    group.release()
    wanted = mail_ids(range(group.end_of_packs))
    group.assert_finished(wanted)
    group.end()
    group.assert_attempted_once(wanted)


class LosesFirstMove(TransactionalProducer):
    """Learns late that the transaction of its first move has committed."""

    has_lost = False
    unanswered = 6

    def open(self) -> None:
        if self.has_lost and self.unanswered:
            self.unanswered -= 1
            raise TransactionLost("no answer")
        super().open()

    def commit(self, *args: Any, **options: Any) -> None:
        super().commit(*args, **options)
        is_move = len(args) > 3 and args[3] is not None
        if is_move and not self.has_lost:
            self.has_lost = True
            raise TransactionLost("no answer")


def test_a_member_does_not_read_its_copies_though_it_does_not_know_yet_that_they_are_there(
    group: Group,
) -> None:
    first = start_first(group, static=False, make_producer=LosesFirstMove)
    second = group.start("second", static=False)
    group.publish_until(lambda: second.worker.status.settled > 0)
    # The second may have work before the first has asked as often as it gets no answer. On a busy
    # machine the first may lose another transaction to the rebalance.
    eventually(lambda: first.worker.status.lost_transactions >= 1 + LosesFirstMove.unanswered)
    group.release()
    wanted = mail_ids(range(group.end_of_packs))
    group.assert_finished(wanted)
    group.end()
    group.assert_attempted_once(wanted)


@with_either_membership
def test_others_read_all_partitions_of_a_member_that_stops_and_waits_for_slow_messages(
    group: Group, static: bool
) -> None:
    first = start_first(group, static=static, drain_timeout_s=100.0)
    group.start("second", static=static)
    first.stop.set()
    group.publish(range(PACKS, 2 * PACKS))
    wanted = mail_ids(range(2 * PACKS))
    group.assert_finished([mail_id for mail_id in wanted if mail_id not in SLOW])
    assert first.thread.is_alive(), "it waits for the slow messages"
    group.release()
    group.assert_finished(wanted)
    group.end()
    group.assert_attempted_once(wanted)


def test_messages_that_were_moved_and_not_finished_are_sent_by_another_member(
    group: Group,
) -> None:
    first = start_first(group, static=False, drain_timeout_s=6.0)
    first.end()
    assert first.worker.status.handed_out - first.worker.status.settled == len(SLOW)
    group.release()
    second = group.start("second", static=False)
    group.assert_finished(mail_ids(range(PACKS)))
    second.end()
    assert sorted(second.attempted) == sorted(SLOW)


def test_packs_of_which_one_message_takes_its_time_do_not_stop_their_partition(
    group: Group,
) -> None:
    # A ledger can hold 64 packs of which a part is settled.
    packs = range(5 * MAX_OPEN_PACKS)
    group.slow = set(mail_ids(packs, 1))
    group.start("only", static=False)
    group.publish(packs, SMALL_PACK)
    wanted = mail_ids(packs, SMALL_PACK)
    group.assert_finished([mail_id for mail_id in wanted if mail_id not in group.slow])
    group.release()
    group.assert_finished(wanted)
    group.end()
    group.assert_attempted_once(wanted)


def test_slow_messages_that_another_member_left_on_a_shelf_do_not_hold_it_up(group: Group) -> None:
    first = group.start_with_work("first", static=False)
    second = group.start_with_work("second", static=False, drain_timeout_s=6.0)
    group.publish(range(PACKS))
    eventually(lambda: {*first.attempted, *second.attempted} >= SLOW)
    left = SLOW & {*second.attempted}
    shelf = min(each for each in second.consumers[-1].assignment() if each.topic == group.shelf)
    second.end()
    eventually(lambda: left <= {*first.attempted})
    third = group.start_with_work("third", static=False)
    assert shelf == TopicPartition(group.shelf, 2), "the first worker gives up the upper half"
    eventually(lambda: shelf in third.consumers[-1].assignment())
    assert first.worker.status.in_flight >= len(SLOW), "they are still on their way"
    group.release()
    group.assert_finished(mail_ids(range(group.end_of_packs)))
    first.end()
    third.end()


def test_a_static_member_that_stopped_slowly_and_starts_at_once_gets_its_share_again(
    group: Group,
) -> None:
    # The broker gives it the assignment that it had when it left: none.
    leader = group.start_with_work("leader")
    follower = group.start_with_work("follower", drain_timeout_s=6.0)
    group.publish(range(PACKS))
    eventually(lambda: {*leader.attempted, *follower.attempted} >= SLOW)
    follower.end()
    successor = group.start_with_work("follower")
    group.release()
    group.assert_finished(mail_ids(range(group.end_of_packs)))
    leader.end()
    successor.end()
