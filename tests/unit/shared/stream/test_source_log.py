"""What the log of counted topics says of its ends: what was written, and what can be read now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from shared.responses.counting.merging import Source
from shared.runtime.clock import FakeClock
from shared.stream.client import ClientOptions
from shared.stream.source_log import ASK_S, SourceLog

TOPIC = "mail.events"
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

    def partitions(self) -> list[int]:
        return [0]

    def ends(self, _: Iterable[int]) -> dict[int, int]:
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
