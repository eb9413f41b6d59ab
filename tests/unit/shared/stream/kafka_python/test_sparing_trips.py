"""Which trips to the I/O thread a poll makes: those that have something to do."""

from __future__ import annotations

import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.consumer.fetcher import Fetcher
from kafka.future import Future
from kafka.structs import TopicPartition

from shared.stream.kafka_python.sparing_trips import SparingFetcher, spare_look_ups

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)
LEADERS = {FIRST: 1, SECOND: 2}


def ended() -> Any:
    return Future().success(None)


def under_way() -> Any:
    return Future()


@pytest.mark.parametrize(
    ("fetchable", "asked", "futures", "is_sent"),
    [
        pytest.param([FIRST], set(), [], True, id="the first fetch"),
        pytest.param([FIRST], {1}, [under_way()], False, id="its leader is asked already"),
        pytest.param([FIRST, SECOND], {1}, [under_way()], True, id="another leader is not asked"),
        pytest.param([FIRST, SECOND], {1, 2}, [under_way()], False, id="both are asked"),
        pytest.param([], set(), [], False, id="all paused, or waiting to be returned"),
        pytest.param([], {1}, [under_way()], False, id="all paused while one is asked"),
        pytest.param([], {1}, [ended(), under_way()], True, id="one that ended is to be forgotten"),
        pytest.param([TopicPartition("t", 9)], {1}, [under_way()], True, id="no known leader"),
    ],
)
def test_fetches_are_sent_when_there_is_a_leader_to_ask(
    monkeypatch: pytest.MonkeyPatch,
    fetchable: list[TopicPartition],
    asked: set[int],
    futures: list[Any],
    is_sent: bool,
) -> None:
    fetcher, sent = fetcher_with(monkeypatch, fetchable, asked, futures)
    fetcher.send_fetches()
    assert bool(sent) == is_sent


def test_a_dead_io_thread_is_noticed_although_nothing_is_to_be_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetcher, sent = fetcher_with(monkeypatch, [], set(), [])
    fetcher._net = SimpleNamespace(_exception=RuntimeError("it died"))
    fetcher.send_fetches()
    assert sent


@pytest.mark.parametrize(("asked_ms", "waits_ms"), [(None, None), (0, 0), (1, 2), (19, 20)])
def test_a_dead_io_thread_is_asked_to_wait_and_not_for_the_rest_of_a_millisecond(
    monkeypatch: pytest.MonkeyPatch, asked_ms: int | None, waits_ms: int | None
) -> None:
    fetcher, _ = fetcher_with(monkeypatch, [], set(), [])
    fetcher._net = SimpleNamespace(_exception=RuntimeError("it died"), _io_thread=object())
    monkeypatch.setattr(Fetcher, "fetch_records", lambda *arguments: arguments[1:])
    assert fetcher.fetch_records(7, timeout_ms=asked_ms) == (7, True, waits_ms)


def test_a_wait_for_records_hands_nothing_to_the_io_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher, sent = fetcher_with(monkeypatch, [FIRST], {1}, [under_way()])
    assert fetcher.fetch_records(7, timeout_ms=1) == ({}, False)
    assert sent == []


@pytest.mark.parametrize("has_failed", [False, True], ids=["answered", "failed"])
def test_a_fetch_that_ends_during_a_wait_ends_it(
    monkeypatch: pytest.MonkeyPatch, has_failed: bool
) -> None:
    one, other = under_way(), under_way()
    fetcher, _ = fetcher_with(monkeypatch, [FIRST, SECOND], {1, 2}, [one, other])
    buffered: list[int] = []
    other.add_both(lambda _: buffered.append(1))
    monkeypatch.setattr(
        Fetcher, "fetched_records", lambda *_: ({FIRST: buffered} if buffered else {}, False)
    )
    end = partial(other.failure, OSError("gone")) if has_failed else partial(other.success, None)
    io_thread = threading.Timer(0.05, end)
    io_thread.start()
    assert fetcher.fetch_records(7, timeout_ms=120_000) == ({FIRST: [1]}, False)
    io_thread.join()


def test_the_search_for_an_offset_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher, _ = fetcher_with(monkeypatch, [], set(), [])
    fetcher._reset_task = under_way()
    io_thread = threading.Timer(0.05, partial(fetcher._reset_task.success, None))
    io_thread.start()
    assert fetcher.fetch_records(7, timeout_ms=120_000) == ({}, False)
    io_thread.join()


def test_without_anything_to_wait_for_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher, _ = fetcher_with(monkeypatch, [], set(), [])
    assert fetcher.fetch_records(7, timeout_ms=120_000) == ({}, True)


def fetcher_with(
    monkeypatch: pytest.MonkeyPatch,
    fetchable: list[TopicPartition],
    asked: set[int],
    futures: list[Any],
) -> tuple[Any, list[bool]]:
    """A fetcher in this state, and the list that each trip is noted in."""
    sent: list[bool] = []
    monkeypatch.setattr(Fetcher, "__init__", lambda _self: None)
    monkeypatch.setattr(Fetcher, "send_fetches", lambda _self: sent.append(True))
    monkeypatch.setattr(Fetcher, "_fetchable_partitions", lambda _self: fetchable)
    monkeypatch.setattr(Fetcher, "fetched_records", lambda *_: ({}, False))
    fetcher: Any = SparingFetcher()
    fetcher._net = SimpleNamespace(_exception=None, _io_thread=object())
    fetcher._reset_task = None
    fetcher._fetch_futures = futures
    fetcher._nodes_with_pending_fetch_requests = asked
    cluster = SimpleNamespace(leader_for_partition=LEADERS.get)
    fetcher._manager = SimpleNamespace(cluster=cluster)
    return fetcher, sent


@pytest.mark.parametrize(
    ("known", "is_connected", "fault", "is_looked_up"),
    [
        pytest.param(1, True, None, False, id="known and connected"),
        pytest.param(None, True, None, True, id="not known"),
        pytest.param(1, False, None, True, id="known, but not connected"),
        pytest.param(1, True, RuntimeError("it died"), True, id="the I/O thread has ended"),
    ],
)
def test_the_coordinator_is_looked_up_while_it_cannot_be_used(
    known: int | None, is_connected: bool, fault: Exception | None, is_looked_up: bool
) -> None:
    asked: list[float | None] = []

    def look_up(timeout_ms: float | None = None) -> bool:
        asked.append(timeout_ms)
        return False

    coordinator = SimpleNamespace(coordinator_id=known, ensure_coordinator_ready=look_up)
    network = SimpleNamespace(
        connected=lambda _node: is_connected, _net=SimpleNamespace(_exception=fault)
    )
    spare_look_ups(SimpleNamespace(_coordinator=coordinator, _client=network))
    is_ready = coordinator.ensure_coordinator_ready(timeout_ms=20)
    assert (is_ready, asked) == ((False, [20]) if is_looked_up else (True, []))
