"""Which bootstrap server is asked next, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from shared.runtime.clock import FakeClock
from shared.stream.kafka_python import bootstrapping
from shared.stream.kafka_python.bootstrapping import ATTEMPT_S, AVOID_S, spread_attempts


class Manager:
    """Connects to the servers that answer; records the end of each attempt."""

    def __init__(self, names: Sequence[str], *, answering: Sequence[str] = ()) -> None:
        nodes = [SimpleNamespace(node_id=name, host=name, port=9_092) for name in names]
        self._nodes = {node.node_id: node for node in nodes}
        self._answering = answering
        self.ends: list[float | None] = []
        self.cluster: Any = SimpleNamespace(
            bootstrap_brokers=lambda: list(nodes), is_bootstrap=lambda name: name in self._nodes
        )
        spread_attempts(self)

    async def _connect(self, node: Any, conn: Any, timeout_at: float | None = None) -> None:
        self.ends.append(timeout_at)
        conn.connected = node.node_id in self._answering

    def attempt(self, name: str, timeout_at: float | None = None) -> None:
        node = self._nodes.get(name) or SimpleNamespace(node_id=name, host=name, port=9_092)
        conn = SimpleNamespace(connected=False)
        asyncio.run(self._connect(node, conn, timeout_at=timeout_at))

    def preferred(self) -> list[str]:
        return [each.node_id for each in self.cluster.bootstrap_brokers()]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    made.go_on(1_000)
    monkeypatch.setattr(bootstrapping, "monotonic", made.monotonic)
    monkeypatch.setattr(bootstrapping, "_failed_at", {})
    return made


def test_a_server_that_failed_is_avoided_for_a_while_by_all_clients_of_the_process(
    time: FakeClock,
) -> None:
    first, second = (Manager("abc", answering="c") for _ in range(2))
    first.attempt("a")
    assert first.preferred() == second.preferred() == ["b", "c"]
    second.attempt("c")
    assert second.preferred() == ["b", "c"]
    # A process that is paused for a minute finds every server worth another attempt.
    time.go_on(max(AVOID_S, 60.0))
    assert first.preferred() == ["a", "b", "c"]


def test_if_all_servers_have_failed_all_are_tried(time: FakeClock) -> None:
    client = Manager("ab")
    client.attempt("a")
    client.attempt("b")
    assert client.preferred() == ["a", "b"]


def test_a_server_that_answers_again_is_preferred_again(time: FakeClock) -> None:
    Manager("ab").attempt("a")
    client = Manager("ab", answering="a")
    client.attempt("a")
    assert client.preferred() == ["a", "b"]


def test_an_attempt_at_one_of_several_servers_takes_a_part_of_the_time(time: FakeClock) -> None:
    client = Manager("ab", answering="ab")
    client.attempt("a")
    client.attempt("a", time.monotonic() + 60)
    client.attempt("a", time.monotonic() + 0.5)
    client.attempt("broker-1", time.monotonic() + 60)
    part = time.monotonic() + ATTEMPT_S
    assert client.ends == [part, part, time.monotonic() + 0.5, time.monotonic() + 60]


def test_a_single_server_gets_the_whole_time_and_is_never_avoided(time: FakeClock) -> None:
    client = Manager("a")
    client.attempt("a", time.monotonic() + 60)
    assert client.ends == [time.monotonic() + 60]
    assert client.preferred() == ["a"]
