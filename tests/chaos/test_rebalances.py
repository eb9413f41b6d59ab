"""Fault that must be none: every service grows to three processes under load and shrinks again."""

from __future__ import annotations

from tests.chaos.scenario import Kind, plan
from tests.chaos.scenes import Scenes


def test_growing_and_shrinking_every_service_sends_nothing_twice(
    scenes: Scenes, one_seed: int
) -> None:
    scenes.play(plan(Kind.REBALANCE, one_seed, is_long=False))
