"""Faults drawn from a seed: pauses, rebalances and kills, each as one short schedule.

A paused process is only slow: its session may have ended meanwhile, and its partitions belong to
other members. Nothing that it does afterwards may count. Growing to three processes and shrinking
again must have no effect. A killed process has a successor with another name: nothing of the
dead process may block others, in particular no transaction that it left open.

Longer schedules, and many of them: `./sluice test --long`.
"""

from __future__ import annotations

import pytest

from tests.support.chaos.scenario import Kind, plan
from tests.support.chaos.scenes import Scenes


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_a_short_schedule_of_faults_doubles_no_event_and_loses_none(
    scenes: Scenes, kind: Kind, one_seed: int
) -> None:
    scenes.play(plan(kind, one_seed, is_long=False))
