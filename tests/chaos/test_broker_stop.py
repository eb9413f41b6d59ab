"""Fault: the broker is away for 30 s in the middle of the traffic, then has its data again."""

from __future__ import annotations

import time

from tests.chaos.stage import Stage

MESSAGES = 5_000
RATE_PER_S = 1_000
AWAY_S = 30.0


def test_a_broker_away_for_thirty_seconds_loses_nothing_and_sends_nothing_twice(
    stage: Stage, one_seed: int
) -> None:
    run = stage.open_run(f"broker-{one_seed}", one_seed)
    injector = run.inject(MESSAGES, RATE_PER_S)
    injector.wait_for(MESSAGES // 3, timeout_s=60)
    stage.line.stop_part("kafka")
    time.sleep(AWAY_S)  # the fault itself, not a wait for something
    stage.restart("kafka")
    stage.line.wait_ready("kafka")
    stage.finish(run, injector)
