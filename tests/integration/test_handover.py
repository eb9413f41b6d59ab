"""Messages that take long do not hold up their partition when members of a group change."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from shared.stream.admin import ensure_topics
from shared.stream.jobs import Job
from shared.stream.transactions import TransactionalProducer, TransactionLost
from shared.topics.names import TopicPlan
from tests.support.running_worker import RunningWorker, ids_of_pack, pack_of
from tests.support.stream_topics import eventually, publish, publish_until, read_all

PACKS = 12

with_either_membership = pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])


class Servers:
    """Every twentieth message takes until release()."""

    def __init__(self) -> None:
        self._are_slow = True

    def are_slow(self, job: Job) -> bool:
        return self._are_slow and is_slow(job.message.envelope.mail_id)

    def release(self) -> None:
        self._are_slow = False


def is_slow(mail_id: str) -> bool:
    return mail_id in SLOW


def mail_ids(packs: Iterable[int]) -> list[str]:
    return [mail_id for number in packs for mail_id in ids_of_pack(number)]


SLOW = set(mail_ids(range(PACKS))[::20])


@pytest.fixture
def shelf(kafka_bootstrap: str, topics: tuple[str, str]) -> str:
    name = f"{topics[0]}.handover"
    ensure_topics(kafka_bootstrap, [TopicPlan(name, 4, {})])
    return name


def start_first(
    bootstrap: str, topics: tuple[str, str], shelf: str, servers: Servers, **options: Any
) -> RunningWorker:
    """A worker in which only the slow messages are in flight any more."""
    source, target = topics
    publish(bootstrap, source, [pack_of(source, number) for number in range(PACKS)])
    first = RunningWorker(bootstrap, "first", source, target, shelf=shelf, **options)
    first.is_slow = servers.are_slow
    eventually(lambda: first.worker.status.in_flight == len(SLOW))
    return first


def assert_each_once(bootstrap: str, target: str, wanted: list[str]) -> None:
    values = read_all(bootstrap, target, len(wanted))
    assert Counter(values) == Counter(mail_id.encode() for mail_id in wanted)


@with_either_membership
def test_a_member_that_joins_reads_its_share_while_messages_of_it_still_take_their_time(
    kafka_bootstrap: str, topics: tuple[str, str], shelf: str, static: bool
) -> None:
    source, target = topics
    servers = Servers()
    first = start_first(kafka_bootstrap, topics, shelf, servers, static=static)
    second = RunningWorker(kafka_bootstrap, "second", source, target, static=static, shelf=shelf)
    more = (pack_of(source, number) for number in itertools.count(PACKS))
    published = publish_until(
        kafka_bootstrap, source, more, lambda: second.worker.status.settled > 0
    )
    assert first.worker.status.in_flight >= len(SLOW), "they are still on their way"
    servers.release()
    wanted = mail_ids(range(PACKS + published))
    assert_each_once(kafka_bootstrap, target, wanted)
    first.end()
    second.end()
    assert Counter(first.attempted + second.attempted) == Counter(wanted)


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
    kafka_bootstrap: str, topics: tuple[str, str], shelf: str
) -> None:
    source, target = topics
    servers = Servers()
    first = start_first(
        kafka_bootstrap, topics, shelf, servers, static=False, make_producer=LosesFirstMove
    )
    second = RunningWorker(kafka_bootstrap, "second", source, target, static=False, shelf=shelf)
    more = (pack_of(source, number) for number in itertools.count(PACKS))
    published = publish_until(
        kafka_bootstrap, source, more, lambda: second.worker.status.settled > 0
    )
    assert first.worker.status.lost_transactions == 1 + LosesFirstMove.unanswered
    servers.release()
    wanted = mail_ids(range(PACKS + published))
    assert_each_once(kafka_bootstrap, target, wanted)
    first.end()
    second.end()
    assert Counter(first.attempted + second.attempted) == Counter(wanted)


@with_either_membership
def test_others_read_all_partitions_of_a_member_that_stops_and_waits_for_slow_messages(
    kafka_bootstrap: str, topics: tuple[str, str], shelf: str, static: bool
) -> None:
    source, target = topics
    servers = Servers()
    first = start_first(
        kafka_bootstrap, topics, shelf, servers, static=static, drain_timeout_s=100.0
    )
    second = RunningWorker(kafka_bootstrap, "second", source, target, static=static, shelf=shelf)
    first.stop.set()
    publish(kafka_bootstrap, source, [pack_of(source, n) for n in range(PACKS, 2 * PACKS)])
    wanted = mail_ids(range(2 * PACKS))
    at_once = [mail_id for mail_id in wanted if mail_id not in SLOW]
    assert_each_once(kafka_bootstrap, target, at_once)
    assert first.thread.is_alive(), "it waits for the slow messages"
    servers.release()
    assert_each_once(kafka_bootstrap, target, wanted)
    first.end()
    second.end()
    assert Counter(first.attempted + second.attempted) == Counter(wanted)


def test_messages_that_were_moved_and_not_finished_are_sent_by_another_member(
    kafka_bootstrap: str, topics: tuple[str, str], shelf: str
) -> None:
    source, target = topics
    servers = Servers()
    first = start_first(kafka_bootstrap, topics, shelf, servers, static=False, drain_timeout_s=6.0)
    first.end()
    assert first.worker.status.handed_out - first.worker.status.settled == len(SLOW)
    second = RunningWorker(kafka_bootstrap, "second", source, target, static=False, shelf=shelf)
    wanted = mail_ids(range(PACKS))
    assert_each_once(kafka_bootstrap, target, wanted)
    second.end()
    assert sorted(second.attempted) == sorted(SLOW)
