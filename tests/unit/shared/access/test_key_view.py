"""How old the view of the access keys says it is."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from shared.access.view import MAX_STALE_S, KeyView
from shared.runtime.clock import FakeClock
from shared.stream.client import ClientOptions
from tests.support.patience import PATIENCE_S


class Reader:
    """A LogReader of an empty topic. The process is paused after each answer about its end."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.faults: list[str] = []
        self.has_looked_twice = threading.Event()
        self.view: KeyView | None = None

    def partitions(self) -> list[int]:
        return [0]

    def topic_id(self) -> str:
        return "one"

    def read_from(self, _: Mapping[int, int]) -> None:
        pass

    def ends(self, _: Iterable[int]) -> dict[int, int]:
        assert self.view is not None
        self.faults.append(self.view.fault())
        if len(self.faults) > 1:
            self.has_looked_twice.set()
        self.clock.go_on(MAX_STALE_S + 1)
        return {0: 0}

    def has_reached(self, _: Mapping[int, int]) -> bool:
        return True

    def poll(self, _: int) -> dict[int, Sequence[Any]]:
        self.clock.go_on(1.0)
        return {}

    def close(self) -> None:
        pass


def test_a_pause_after_the_answer_makes_the_keys_no_younger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    reader = Reader(clock)
    monkeypatch.setattr("shared.access.view.LogReader", lambda *_, **__: reader)
    reader.view = view = KeyView(ClientOptions("nowhere:1", "one"), "api", clock)
    view.start()
    try:
        assert reader.has_looked_twice.wait(PATIENCE_S)
        assert "cannot be read" in reader.faults[1]
    finally:
        view.close()
