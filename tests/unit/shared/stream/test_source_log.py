"""What the log of counted topics says of its ends, and how much one poll reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from msgspec import Struct

from shared.responses.counting.merging import Source
from shared.runtime.clock import FakeClock
from shared.stream.client import ClientOptions
from shared.stream.source_log import ASK_S, FETCH_MS, POLL_FETCHES, SourceLog

TOPIC = "mail.events"
OTHER = "mail.suppressions"
FIRST = Source(TOPIC, 0)


class Log:
    """One partition, with an open transaction from `stable` on."""

    def __init__(self) -> None:
        self.written = 0
        self.stable = 0


class Reader:
    """A LogReader of that partition, which reads all that it can at each poll."""

    def __init__(self, log: Log, is_committed: bool) -> None:
        self.log = log
        self.is_committed = is_committed
        self.at = 0
        self.waits: list[int] = []
        self.asked = 0

    def partitions(self) -> list[int]:
        return [0]

    def ends(self, _: Iterable[int]) -> dict[int, int]:
        self.asked += 1
        return {0: self.log.stable if self.is_committed else self.log.written}

    def read_from(self, offsets: Mapping[int, int]) -> None:
        self.at = offsets[0]

    def position(self, _: int) -> int:
        return self.at

    def poll(self, _: int) -> dict[int, Sequence[Any]]:
        self.at = self.log.stable
        return {}


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source_log(log: Log, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> SourceLog:
    def make(_: object, __: str, is_committed: bool = True, **___: int) -> Reader:
        return Reader(log, is_committed)

    monkeypatch.setattr("shared.stream.source_log.LogReader", make)
    made = SourceLog(ClientOptions("nowhere:1", "one"), (TOPIC,), clock)
    made.read_from({FIRST: 0})
    return made


def test_it_is_not_behind_while_an_open_transaction_holds_the_rest_back(
    source_log: SourceLog, log: Log
) -> None:
    log.written, log.stable = 9, 4
    source_log.poll()
    assert not source_log.is_behind()
    assert source_log.lag() == 5


def test_it_is_behind_once_the_transaction_has_ended(
    source_log: SourceLog, log: Log, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.written, log.stable = 9, 4
    source_log.poll()
    log.stable = 9
    clock.go_on(ASK_S)
    monkeypatch.setattr(Reader, "poll", lambda *_: {})
    source_log.poll()
    assert source_log.is_behind()


def test_the_ends_are_looked_at_no_sooner_than_it_says_and_then_at_once(
    source_log: SourceLog, log: Log, clock: FakeClock
) -> None:
    clock.go_on(0.1)
    source_log.poll()
    log.written = log.stable = 5
    clock.go_on(ASK_S - 0.01)
    source_log.poll()
    assert clock.monotonic() < source_log.next_look()
    log.written = 7
    clock.go_on(source_log.next_look() - clock.monotonic())
    source_log.poll()
    assert source_log.lag() == 2


class SlowReader(Reader):
    """Each fetch brings one record: the first record after a wait ends the wait."""

    def poll(self, timeout_ms: int) -> dict[int, Sequence[Any]]:
        self.waits.append(timeout_ms)
        if self.at == self.log.stable:
            return {}
        self.at += 1
        return {0: [Stamped(self.at - 1, 0)]}


class Stamped(Struct, frozen=True):
    offset: int
    timestamp: int


class SlowLog:
    """Two topics that are read record by record."""

    def __init__(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.logs = {TOPIC: Log(), OTHER: Log()}
        self.readers: dict[str, SlowReader] = {}

        def make(_: object, topic: str, is_committed: bool = True, **___: int) -> Reader:
            made = SlowReader(self.logs[topic], is_committed)
            if is_committed:
                self.readers[topic] = made
            return made

        monkeypatch.setattr("shared.stream.source_log.LogReader", make)
        self.made = SourceLog(ClientOptions("nowhere:1", "one"), (TOPIC, OTHER), clock)
        self.made.read_from({Source(TOPIC, 0): 0, Source(OTHER, 0): 0})

    def write(self, topic: str, records: int) -> None:
        self.logs[topic].written += records
        self.logs[topic].stable += records


@pytest.fixture
def slow(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> SlowLog:
    return SlowLog(clock, monkeypatch)


def test_one_poll_reads_all_that_was_readable_at_the_request_of_the_ends(slow: SlowLog) -> None:
    slow.write(TOPIC, 3)
    slow.made.poll()
    assert slow.readers[TOPIC].at == 3
    assert not slow.made.is_behind()
    assert len(slow.made.take(10)) == 3


def test_a_topic_without_readable_records_is_read_once_and_not_waited_for(slow: SlowLog) -> None:
    slow.write(TOPIC, 2)
    slow.made.poll()
    assert slow.readers[TOPIC].waits == [FETCH_MS, FETCH_MS]
    assert slow.readers[OTHER].waits == [0]


def test_a_caller_without_other_work_waits_for_the_next_record(slow: SlowLog) -> None:
    slow.made.poll(70)
    assert [each.waits for each in slow.readers.values()] == [[70], [70]]


def test_one_poll_makes_a_bounded_number_of_fetches(slow: SlowLog) -> None:
    slow.write(TOPIC, POLL_FETCHES + 1)
    slow.made.poll()
    assert slow.made.is_behind()
    slow.made.poll()
    assert not slow.made.is_behind()
    assert slow.readers[TOPIC].at == POLL_FETCHES + 1


def test_records_are_given_once_they_are_taken_and_not_while_they_are_unread(
    slow: SlowLog, clock: FakeClock
) -> None:
    ends = {Source(TOPIC, 0): 1}
    slow.write(TOPIC, 1)
    assert not slow.made.has_given(ends)
    clock.go_on(ASK_S)
    slow.made.poll()
    assert not slow.made.has_given(ends)
    assert len(slow.made.take(10)) == 1
    assert slow.made.has_given(ends)


def test_the_readable_ends_are_requested_only_of_topics_with_unread_records(
    slow: SlowLog, clock: FakeClock
) -> None:
    slow.write(TOPIC, 1)
    slow.made.poll()
    clock.go_on(ASK_S)
    slow.made.poll()
    assert [each.asked for each in slow.readers.values()] == [1, 0]
    slow.write(OTHER, 1)
    clock.go_on(ASK_S)
    slow.made.poll()
    assert [each.asked for each in slow.readers.values()] == [1, 1]
    assert not slow.made.is_behind()
