"""The schedules of faults depend only on the seed, and contain every requested fault."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cli.stack.paths import SERVICES, base_environment
from tests.support.chaos.scenario import (
    GROWN,
    PAUSES_S,
    Grow,
    Kill,
    Kind,
    Pause,
    RestartBroker,
    Scenario,
    Shrink,
    copies_allowed,
    plan,
)

SEEDS = range(20)
BOUND = 200


def plans(kind: Kind, is_long: bool = True) -> list[Scenario]:
    return [plan(kind, seed, is_long) for seed in SEEDS]


@pytest.mark.parametrize("kind", Kind)
def test_another_process_draws_the_same_schedule(kind: Kind) -> None:
    code = f"from tests.support.chaos.scenario import *; print(plan(Kind({kind.value!r}), 7, True))"
    environ = {**os.environ, **base_environment(), "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(plan(kind, 7, True))


@pytest.mark.parametrize("kind", Kind)
def test_half_of_the_seeds_have_static_members_and_names_differ(kind: Kind) -> None:
    assert sum(scenario.is_static for scenario in plans(kind)) == len(SEEDS) / 2
    assert len({scenario.name for scenario in plans(kind)}) == len(SEEDS)


@pytest.mark.parametrize("seed", [0, 1])
def test_one_seed_of_each_kind_has_both_memberships(seed: int) -> None:
    assert {plan(kind, seed, False).is_static for kind in Kind} == {False, True}


@pytest.mark.parametrize("is_long", [False, True])
def test_every_service_is_paused_once_in_each_schedule(is_long: bool) -> None:
    for scenario in plans(Kind.PAUSE, is_long):
        steps = [step for step in scenario.steps if isinstance(step, Pause)]
        hit = [service for step in steps for service, _ in step.who]
        assert sorted(hit) == sorted(SERVICES)


def test_long_pauses_have_every_length_for_every_service_and_two_at_once() -> None:
    steps = [step for scenario in plans(Kind.PAUSE) for step in scenario.steps]
    pauses = [step for step in steps if isinstance(step, Pause)]
    found = {(service, step.seconds) for step in pauses for service, _ in step.who}
    assert found == {(service, seconds) for service in SERVICES for seconds in PAUSES_S}
    assert {len(step.who) for step in pauses} == {1, 2}


def test_every_service_grows_and_shrinks_and_a_broker_restarts_in_between() -> None:
    for scenario in plans(Kind.REBALANCE):
        grown = [s for step in scenario.steps if isinstance(step, Grow) for s in step.services]
        ended = [s for step in scenario.steps if isinstance(step, Shrink) for s in step.services]
        assert sorted(grown) == sorted(ended) == sorted(SERVICES)
    steps = [step for scenario in plans(Kind.REBALANCE) for step in scenario.steps]
    assert any(isinstance(step, RestartBroker) for step in steps)
    assert {s.survivor for s in steps if isinstance(s, Shrink)} == set(range(GROWN))


def test_every_service_is_killed_by_signal_and_at_a_failpoint() -> None:
    steps = [step for scenario in plans(Kind.KILL) for step in scenario.steps]
    kills = [step for step in steps if isinstance(step, Kill)]
    found = {(step.service, bool(step.failpoint)) for step in kills}
    assert found == {(service, way) for service in SERVICES for way in (False, True)}


@pytest.mark.parametrize(
    ("step", "copies"),
    [
        (Pause((("deliver", 0),), 5.0), 0),
        (Pause((("deliver", 0),), 14.0), BOUND),
        (Pause((("validate", 0), ("deliver", 1)), 40.0), BOUND),
        (Pause((("validate", 0),), 40.0), 0),
        (Kill("deliver", 0), BOUND),
        (Kill("ingest", 0, "ingest.offsets_sent:1"), 0),
        (Grow(("deliver",), 3), 0),
        (Shrink(("deliver",), 0), 0),
        (RestartBroker(), 0),
    ],
)
def test_second_copies_are_allowed_only_where_deliver_is_cut_off(step: object, copies: int) -> None:
    assert copies_allowed(step, BOUND) == copies  # type: ignore[arg-type]
