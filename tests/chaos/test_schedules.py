"""Faults drawn from a seed: pauses, rebalances and kills, each as one short schedule.

A paused process is not dead, only slow: its session may have ended meanwhile, and what it held
belongs to others. Nothing that it does afterwards may count. Growing to three processes and
shrinking again must be no fault at all. A process that was killed has a successor of another name:
nothing of the dead one may hold anything up, least of all a transaction that it left open.

Longer schedules, and many of them: `./sluice test --long`.
"""

from __future__ import annotations

import pytest

from tests.chaos.scenario import Kind, plan
from tests.chaos.scenes import Scenes


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_a_short_schedule_of_faults_doubles_no_event_and_loses_none(
    scenes: Scenes, kind: Kind, one_seed: int
) -> None:
    scenes.play(plan(kind, one_seed, is_long=False))
