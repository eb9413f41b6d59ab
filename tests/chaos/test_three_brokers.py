"""Three brokers, three copies, two in sync: services are scaled and restarted, brokers killed.

A long run: `./sluice test --long -k three_broker`. Mail arrives by Kafka and by SMTP all the time.
Nothing may be lost, every message has one final event, the bill is exact, and nothing is sent twice
by a graceful stop or by the end of a broker. The stalls are printed and recorded; the limit on
them is wide, because two processors run the brokers, all services and the load.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

import pytest

from cli.stack.paths import SERVICES
from local.parts.kafka_cluster import SIZE, node_names
from tests.support.chaos.cluster_load import ClusterLoad, Stalls
from tests.support.chaos.fleet import ENV, Fleet
from tests.support.chaos.results import Result, Results, with_counts
from tests.support.chaos.scenes import Say
from tests.support.chaos.stage import Stage, stage_name

pytestmark = [pytest.mark.long, pytest.mark.timeout(3_000)]

PROCESSES = 4
WARM_UP_S = 5.0
BETWEEN_S = 10.0
AFTERWARDS_S = 60.0
# The two stopped brokers return after the front door has replied 451 this many times.
REFUSALS = 40
# The aim is 10 s; the limit allows for a machine that is busy with other work.
LONGEST_STALL_S = 60.0


class Cluster:
    """The stage, and the operations on it."""

    def __init__(self, results: Results, tell: Say) -> None:
        self.stage = Stage(f"{stage_name()}-brokers", ENV, brokers=SIZE)
        self.fleet = Fleet(self.stage)
        self.tell = tell
        self._results = results

    def load(self, name: str, seed: int) -> ClusterLoad:
        return ClusterLoad(self.stage, self.fleet, name, seed)

    def kill(self, broker: str) -> None:
        self.stage.down.add(broker)
        self.stage.kill(broker)

    def bring_back(self, *brokers: str) -> None:
        for broker in brokers:
            self.stage.restart(broker)
        for broker in brokers:
            self.stage.stack.wait_ready(broker)
            self.stage.down.discard(broker)

    def record(self, load: ClusterLoad, name: str, seed: int, stall_s: float) -> None:
        for run, findings in zip(load.runs, load.judge(), strict=True):
            seconds = round(time.time() - load.started_at, 1)
            result = Result(f"brokers-{name}", run.name, seed, True, seconds, silence_s=stall_s)
            result = with_counts(result, findings, run.copies_bound)
            self._results.add(result)
            self.tell(f"{result}")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, results: Results, tell: Say) -> Iterator[Cluster]:
    cluster = Cluster(results, tell)
    try:
        yield cluster
    finally:
        cluster.stage.close(keep=request.session.testsfailed > 0)


def test_services_grow_to_four_processes_are_restarted_one_by_one_and_shrink_again(
    cluster: Cluster, one_seed: int
) -> None:
    fleet = cluster.fleet
    load = cluster.load("scaled", one_seed)
    load.wait_arrived(WARM_UP_S)
    fleet.grow(SERVICES, PROCESSES)
    load.wait_arrived(BETWEEN_S)
    for service in SERVICES:
        fleet.roll(service)
        cluster.tell(f"{service}: {PROCESSES} processes restarted")
        load.wait_arrived(BETWEEN_S)
    fleet.end([name for service in SERVICES for name in fleet.members(service)[1:]])
    load.wait_arrived(BETWEEN_S)
    stalls = load.stalls_since(load.started_at)
    cluster.tell(f"scaled: {stalls}")
    cluster.record(load, "scaled", one_seed, stalls.arriving_s)


def test_one_broker_is_killed_then_a_second_and_mail_flows_after_their_return(
    cluster: Cluster, one_seed: int
) -> None:
    cluster.fleet.reset()
    first, second = Random(one_seed).sample(node_names(SIZE), 2)
    load = cluster.load("return", one_seed)
    load.wait_arrived(WARM_UP_S)
    killed_at = time.time()
    cluster.kill(first)
    load.wait_arrived(BETWEEN_S)
    cluster.tell(f"without {first}: {load.stalls_since(killed_at)}")
    cluster.kill(second)
    require_451(load)
    cluster.bring_back(first, second)
    returned_at = time.time()
    load.wait_arrived(AFTERWARDS_S)
    stalls = load.stalls_since(returned_at)
    cluster.tell(f"after the return of {first} and {second}: {stalls}")
    cluster.record(load, "return", one_seed, stalls.longest_s)
    require_short(stalls)


def require_451(load: ClusterLoad) -> None:
    """Require that the front door always replies 451 while only one of three brokers runs."""
    load.wait_for(more_of(load, 451, 1))
    accepted = load.replies(250)
    load.wait_for(more_of(load, 451, REFUSALS))
    assert load.replies(250) == accepted


def more_of(load: ClusterLoad, code: int, count: int) -> Callable[[], bool]:
    wanted = load.replies(code) + count
    return lambda: load.replies(code) >= wanted


def require_short(stalls: Stalls) -> None:
    assert stalls.longest_s < LONGEST_STALL_S, stalls
