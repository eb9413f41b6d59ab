"""How long a fetch waits at the broker, while records come and after they have stopped."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.consumer.fetcher import Fetcher
from kafka.structs import TopicPartition

from shared.runtime.clock import FakeClock
from shared.stream.kafka_python import patient_fetching
from shared.stream.kafka_python.patient_fetching import (
    IDLE_AFTER_S,
    IDLE_WAIT_MS,
    PatientFetcher,
)

BATCHING = {"fetch_min_bytes": 1_000_000, "fetch_max_wait_ms": 50}
AT_ONCE = {"fetch_min_bytes": 1, "fetch_max_wait_ms": 100}
IDLE = {"fetch_min_bytes": 1, "fetch_max_wait_ms": IDLE_WAIT_MS}
RECORDS = {TopicPartition("t", 0): ["a record"]}


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    made.go_on(1_000)
    monkeypatch.setattr(patient_fetching, "monotonic", made.monotonic)
    return made


def fetcher_with(monkeypatch: pytest.MonkeyPatch, config: dict[str, int]) -> Any:
    """One whose requests are the configuration that they were made with."""

    def begin(self: Any, **given: Any) -> None:
        self.config, self.found = dict(given), {}

    monkeypatch.setattr(Fetcher, "__init__", begin)
    monkeypatch.setattr(Fetcher, "fetched_records", lambda self, *_: (self.found, False))
    monkeypatch.setattr(Fetcher, "_create_fetch_requests", lambda self: dict(self.config))
    return PatientFetcher(**config)


@pytest.mark.parametrize(
    ("config", "after_s", "expected"),
    [
        pytest.param(BATCHING, 0.0, BATCHING, id="records come: whole batches"),
        pytest.param(BATCHING, IDLE_AFTER_S - 0.1, BATCHING, id="a short pause"),
        pytest.param(BATCHING, IDLE_AFTER_S, IDLE, id="nothing comes: the first record"),
        pytest.param(AT_ONCE, IDLE_AFTER_S * 100, AT_ONCE, id="a reader that never batches"),
    ],
)
def test_a_fetch_waits_for_a_batch_or_for_the_first_record(
    monkeypatch: pytest.MonkeyPatch,
    time: FakeClock,
    config: dict[str, int],
    after_s: float,
    expected: dict[str, int],
) -> None:
    fetcher = fetcher_with(monkeypatch, config)
    fetcher.found = RECORDS
    fetcher.fetched_records()
    fetcher.found = {}
    time.go_on(after_s)
    fetcher.fetched_records()
    assert fetcher._create_fetch_requests() == expected


def test_the_first_record_after_a_pause_brings_the_batches_back(
    monkeypatch: pytest.MonkeyPatch, time: FakeClock
) -> None:
    fetcher = fetcher_with(monkeypatch, BATCHING)
    time.go_on(IDLE_AFTER_S)
    assert fetcher._create_fetch_requests() == IDLE
    fetcher.found = RECORDS
    fetcher.fetched_records()
    assert fetcher._create_fetch_requests() == BATCHING
