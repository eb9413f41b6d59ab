"""Fault: kill -9 of Redis, which restarts empty, in the middle of the traffic."""

from __future__ import annotations

from tests.support.chaos.stage import Stage
from tests.support.patience import PATIENCE_S

MESSAGES = 5_000
RATE_PER_S = 1_000


def test_losing_redis_and_all_it_held_changes_no_fate_and_no_count(
    stage: Stage, one_seed: int
) -> None:
    run = stage.open_run(f"redis-{one_seed}", one_seed)
    injector = run.inject(MESSAGES, RATE_PER_S)
    injector.wait_for(MESSAGES // 3, timeout_s=PATIENCE_S)
    stage.kill("redis")
    injector.wait_for(MESSAGES // 2, timeout_s=PATIENCE_S)
    stage.restart("redis")
    stage.stack.wait_ready("redis")
    stage.finish(run, injector)
