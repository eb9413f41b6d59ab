"""Fault: kill -9 of each service in turn, at random moments, in the middle of the traffic."""

from __future__ import annotations

from random import Random

from cli.stack.paths import SERVICES
from tests.support.chaos.stage import MAX_IN_FLIGHT, Stage
from tests.support.patience import PATIENCE_S

MESSAGES = 5_000
RATE_PER_S = 700


def test_killing_each_service_in_turn_loses_nothing_and_doubles_no_fate(
    stage: Stage, seed: int
) -> None:
    random = Random(seed)
    run = stage.open_run(f"kill-{seed}", seed)
    run.copies_bound = MAX_IN_FLIGHT  # deliver is killed once
    order = random.sample(SERVICES, len(SERVICES))
    injector = run.inject(MESSAGES, RATE_PER_S)
    for number, service in enumerate(order, 1):
        moment = int(MESSAGES * (number + random.uniform(-0.4, 0.4)) / (len(order) + 1))
        injector.wait_for(moment, timeout_s=PATIENCE_S)
        stage.kill(service)
        stage.restart(service)
    stage.finish(run, injector)
