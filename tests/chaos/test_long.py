"""Long runs: many seeds of each kind of schedule, and four regression cases of duplicated mail.

`./sluice test --long` runs them; `--kind`, `--seeds` and `--seed` select among them.
"""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
from msgspec.structs import replace

from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.topics.records import EventType
from tests.support.chaos import mixture
from tests.support.chaos.fleet import IN_FLIGHT
from tests.support.chaos.injector import Injector
from tests.support.chaos.results import Result
from tests.support.chaos.scenario import FIXED, PAST_SESSION_S, Kind, Pause, Scenario, plan
from tests.support.chaos.scenes import Scene, Scenes, play
from tests.support.chaos.stage import MAX_IN_FLIGHT, Run
from tests.support.patience import PATIENCE_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]

SLOW = mixture.Fate(100, "slow-30000-", EventType.DELIVERED)
BUSY_RATE_PER_S = 400.0
RECORDS_READ = "sluice_stream_records"

with_either_membership = pytest.mark.parametrize(
    "is_static", [False, True], ids=["dynamic", "static"]
)


def test_a_schedule_of_faults(scenes: Scenes, kind: Kind, long_seed: int) -> None:
    scenes.play(plan(kind, long_seed, is_long=True))


def about(name: str, is_static: bool) -> Result:
    membership = "static" if is_static else "dynamic"
    return Result(FIXED, f"{name}-{membership}", 1, is_static, 0.0)


@with_either_membership
def test_a_deliver_that_is_paused_four_times_at_400_messages_a_second(
    scenes: Scenes, is_static: bool
) -> None:
    steps = (Pause((("deliver", 1),), PAST_SESSION_S),) * 4
    scenario = Scenario("paused", 1, is_static, 2, steps, BUSY_RATE_PER_S, slowest_s=0)
    scenes.perform(about("paused", is_static), partial(play, scenario=scenario))


@with_either_membership
def test_a_second_validate_joins_while_mail_of_a_removed_client_waits(
    scenes: Scenes, is_static: bool
) -> None:
    scenes.perform(about("removed", is_static), remove_a_client)


def remove_a_client(scene: Scene) -> tuple[Run, Injector]:
    fleet, stage = scene.fleet, scene.stage
    run = stage.open_run(scene.name, scene.seed)
    fleet.end(["validate"])
    removed = mixture.senders(run.name)[-1].client
    submissions = [
        replace(each, promise=replace(each.promise, expected=EventType.REFUSED))
        if each.promise.client == removed
        else each
        for each in of_two_clients(run.name, removed, {True: 1_600, False: 400})
    ]
    read_before = fleet.metric("ingest", RECORDS_READ)
    injector = run.inject_these(submissions, rate_per_s=0)
    injector.wait_for(len(submissions), PATIENCE_S)
    stage.wait_for(
        run,
        lambda: fleet.metric("ingest", RECORDS_READ) - read_before >= len(submissions),
        PATIENCE_S,
    )
    publish.apply(KafkaSettings(bootstrap=stage.bootstrap), Changes(removed=(removed,)))
    # The first process is in the middle of the backlog when the second process starts.
    fleet.start("validate")
    stage.wait_for(run, lambda: fleet.has_partitions("validate", 1), PATIENCE_S)
    fleet.start("validate")
    return run, injector


def of_two_clients(run: str, removed: str, wanted: dict[bool, int]) -> list[mixture.Submission]:
    """Return the wanted numbers of messages of the removed client (True) and of others (False)."""
    found = []
    left = dict(wanted)
    for each in mixture.uniform(run, 20 * sum(wanted.values()), 600, Random(run)):
        whose = each.promise.client == removed
        if left[whose]:
            left[whose] -= 1
            found.append(each)
    assert not any(left.values())
    return found


@with_either_membership
def test_a_second_deliver_joins_while_servers_take_30_s_to_answer(
    scenes: Scenes, is_static: bool
) -> None:
    scenes.perform(about("joined", is_static), join_while_servers_are_slow)


def join_while_servers_are_slow(scene: Scene) -> tuple[Run, Injector]:
    fleet, stage = scene.fleet, scene.stage
    run = stage.open_run(scene.name, scene.seed)
    slow = list(mixture.uniform(run.name, MAX_IN_FLIGHT, 600, Random(scene.name), SLOW))
    injector = run.inject_these(slow, rate_per_s=0)
    stage.wait_for(run, lambda: fleet.metric("deliver", IN_FLIGHT) >= len(slow), PATIENCE_S)
    fleet.start("deliver")
    fleet.wait_ready()
    return run, injector


@with_either_membership
def test_an_ingest_that_died_in_its_commit_and_has_a_successor_of_another_name(
    scenes: Scenes, is_static: bool
) -> None:
    scenes.perform(about("renamed", is_static), die_in_a_commit)


def die_in_a_commit(scene: Scene) -> tuple[Run, Injector]:
    fleet, stage = scene.fleet, scene.stage
    run = stage.open_run(scene.name, scene.seed)
    fleet.end(["ingest"])
    injector = run.inject(2_000, 100.0)
    fleet.die_at_failpoint("ingest", "ingest.offsets_sent:5", PATIENCE_S)
    fleet.start("ingest")
    fleet.wait_ready()
    return run, injector
