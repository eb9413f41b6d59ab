"""Fault: the process dies at each failpoint, from reading a record to its commit."""

from __future__ import annotations

import time
from random import Random

import pytest

from shared.runtime.failpoints import NAMES
from tests.support.chaos.injector import Injector
from tests.support.chaos.stage import MAX_IN_FLIGHT, Stage
from tests.support.patience import PATIENCE_S

MESSAGES = 5_000
RATE_PER_S = 1_000
# The number of messages submitted first for each failpoint. Further messages are submitted if the
# failpoint is not reached.
FIRST_SHARE = 0.6
MORE = 20
# Messages that are submitted together are read as one batch, which passes a failpoint once.
_FIRST_LOOK_S = 0.5
_LAST_LOOK_S = 3.0


@pytest.mark.parametrize("service", NAMES)
def test_dying_at_every_failpoint_once_loses_nothing_and_doubles_no_fate(
    stage: Stage, service: str, one_seed: int
) -> None:
    random = Random(one_seed)
    run = stage.open_run(f"fail-{service}-{one_seed}", one_seed)
    points = NAMES[service]
    share = int(MESSAGES * FIRST_SHARE / len(points))
    injector = run.inject(MESSAGES, RATE_PER_S, released=0)
    stage.stack.stop_part(service)
    for point in points:
        injector.release(share)
        stage.restart(service, f"{point}:{random.randint(1, 3)}")
        die_at(stage, service, point, injector)
        run.copies_bound += MAX_IN_FLIGHT if service == "deliver" else 0
    stage.restart(service)
    injector.release(MESSAGES)
    stage.finish(run, injector)


def die_at(stage: Stage, service: str, point: str, injector: Injector) -> None:
    """Keep submitting messages until the service has died at its failpoint."""
    deadline, look_s = time.monotonic() + PATIENCE_S, _FIRST_LOOK_S
    while not stage.wait_failpoint(service, look_s):
        assert time.monotonic() < deadline, f"{point} was not passed within {PATIENCE_S} s"
        if stage.stack.is_ready(service):
            injector.release(MORE)
            look_s = min(1.5 * look_s, _LAST_LOOK_S)
