"""No fault: deliver gets SIGTERM in the middle of the traffic, then a new process starts."""

from __future__ import annotations

from tests.support.chaos.stage import Stage
from tests.support.patience import PATIENCE_S

MESSAGES = 5_000
RATE_PER_S = 1_000


def test_sigterm_of_deliver_sends_nothing_twice(stage: Stage, one_seed: int) -> None:
    run = stage.open_run(f"term-{one_seed}", one_seed)
    assert run.copies_bound == 0
    injector = run.inject(MESSAGES, RATE_PER_S)
    injector.wait_for(MESSAGES // 3, timeout_s=PATIENCE_S)
    assert stage.stack.stop_part("deliver"), "deliver did not drain in time"
    assert stage.stack.process("deliver").exit_code == 0
    stage.restart("deliver")
    stage.finish(run, injector)
