"""Long run: deliver is killed at random moments, under load; a third of the mail is retried.

Nothing is lost, each message has one final event, and the sink gets at most as many second copies
as the killed processes last reported in flight. Ten kills per seed, five seeds unless `--seeds` or
`--seed` is given. With an odd seed the successor has the name of the killed process and takes over
at once (static membership); with an even seed it has another name.
"""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from shared.topics.records import EventType
from tests.support.chaos.fleet import IN_FLIGHT, Fleet
from tests.support.chaos.injector import Injector
from tests.support.chaos.mixture import AT_ONCE, Fate
from tests.support.chaos.results import Result
from tests.support.chaos.scenes import Scene, Scenes
from tests.support.chaos.stage import Run
from tests.support.patience import PATIENCE_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]

KILLS = 10
PROCESSES = 2
RATE_PER_S = 80.0
# Seconds of load from one kill to the next: within a start, a rebalance, or steady work.
SHORTEST_GAP_S, LONGEST_GAP_S = 0.5, 8.0
RETRIED = (
    Fate(50, AT_ONCE, EventType.DELIVERED),
    Fate(30, "defer-1-", EventType.DELIVERED),
    Fate(10, "slow-20-", EventType.DELIVERED),
    Fate(5, "bounce-", EventType.BOUNCED),
    Fate(5, "policy-", EventType.BOUNCED),
)


def test_a_deliver_that_is_killed_at_random_moments_loses_nothing(
    scenes: Scenes, kill_seed: int
) -> None:
    is_static = bool(kill_seed % 2)
    name = f"random-kills-{'static' if is_static else 'dynamic'}-{kill_seed}"
    about = Result("random kills", name, kill_seed, is_static, 0.0)
    scenes.perform(about, partial(kill_at_random, keeps_name=is_static))


def kill_at_random(scene: Scene, *, keeps_name: bool) -> tuple[Run, Injector]:
    fleet, random = scene.fleet, Random(scene.name)
    fleet.grow(("deliver",), PROCESSES)
    run = scene.stage.open_run(scene.name, scene.seed)
    most = int(RATE_PER_S * LONGEST_GAP_S * (KILLS + 1))
    injector = run.inject(most, RATE_PER_S, fates=RETRIED)
    for number in range(KILLS):
        gap_s = random.uniform(SHORTEST_GAP_S, LONGEST_GAP_S)
        more = injector.acknowledged + int(RATE_PER_S * gap_s)
        injector.wait_for(more, PATIENCE_S)
        victim = random.choice(fleet.members("deliver"))
        reported = in_flight(fleet, victim)
        fleet.kill(victim)
        scene.say(f"{scene.name}: kill {number + 1}, {victim} with {reported} in flight")
        run.copies_bound += reported
        if keeps_name:
            fleet.restart(victim)
        else:
            fleet.start("deliver")
        scene.stage.look_after_parts(run)
    fleet.wait_ready()
    injector.stop()
    return run, injector


def in_flight(fleet: Fleet, name: str) -> int:
    """Return the messages in flight that a process reports; 0 while it starts and cannot answer."""
    try:
        return int(fleet.metric(name, IN_FLIGHT))
    except (OSError, AssertionError):
        return 0
