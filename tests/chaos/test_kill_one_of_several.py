"""Fault: kill -9 of one of several processes, whose successor has another name.

A name that does not come back must not hold anything up, least of all a transaction that the
dead process left open.
"""

from __future__ import annotations

from tests.chaos.scenario import Kind, plan
from tests.chaos.scenes import Scenes


def test_a_successor_under_another_name_takes_over_from_any_service(
    scenes: Scenes, one_seed: int
) -> None:
    scenes.play(plan(Kind.KILL, one_seed, is_long=False))
