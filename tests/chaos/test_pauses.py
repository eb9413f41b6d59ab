"""Fault: a process of each service stops for 5 s or 14 s, sometimes two at once, and goes on.

It is not dead, only slow: its session may have ended meanwhile, and what it held belongs to
others. Nothing that it does afterwards may count.
"""

from __future__ import annotations

from tests.chaos.scenario import Kind, plan
from tests.chaos.scenes import Scenes


def test_a_paused_process_of_any_service_doubles_no_event(scenes: Scenes, one_seed: int) -> None:
    scenes.play(plan(Kind.PAUSE, one_seed, is_long=False))
