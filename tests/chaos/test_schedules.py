"""Faults drawn from a seed: pauses, rebalances and kills, each as one short schedule.

A process that continues after a pause may have lost its session, and its partitions may belong to
other members. Nothing that it then does may have an effect. Growing to three processes and
shrinking again must not change the outcome. A killed process has a successor with another name.
Nothing of the dead process may block others, in particular no open transaction.

`./sluice test --long` runs many schedules, and longer ones.
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
