"""Upgrade: the front door moves from ingest to separate processes and back, while clients send.

Both forms listen on one address for some time, as the pods behind one Service do. Then the
processes of the old form are stopped in order. Every message that got its 250 arrives once. A
message without a 250 is submitted again and also arrives once, whichever process got it first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

from cli.stack.paths import FRONT
from shared.registry.credentials import make_credential
from tests.support.chaos import mixture
from tests.support.chaos.smtp_injector import SmtpInjector
from tests.support.chaos.stage import Run, Stage

pytestmark = pytest.mark.long

MESSAGES: Final = 6_000
PASSWORD: Final = "correct-horse-battery"
INGEST: Final = "ingest"
ANSWER_TIMEOUT_S: Final = 300
DOOR: Final = "SLUICE_INGEST__SMTPS_LISTEN"
SHARED: Final = {"SLUICE_INGEST__SMTP_SHARED_PORTS": "true"}


class Move:
    """Starts and stops the processes of both forms."""

    def __init__(self, stage: Stage, run: Run) -> None:
        self._stage, self._run = stage, run
        assert stage.stack.endpoints.smtps is not None
        self._listens = {DOOR: json.dumps([stage.stack.endpoints.smtps]), **SHARED}

    def start_front(self) -> None:
        """Start a separate process in which the door listens, too."""
        self._stage.stack.start_part(FRONT, self._listens)
        self._stage.stack.wait_ready(FRONT)
        self._stage.down.discard(FRONT)

    def stop_front(self) -> None:
        self._stop(FRONT)

    def replace_ingest(self, *, has_door: bool, is_alone: bool = False) -> None:
        """Restart ingest, as the update of a StatefulSet does."""
        self._stop(INGEST)
        env = self._listens if has_door else {DOOR: "[]"}
        self._stage.stack.start_part(INGEST, {} if is_alone else env)
        self._stage.stack.wait_ready(INGEST)
        self._stage.down.discard(INGEST)

    def _stop(self, part: str) -> None:
        self._stage.down.add(part)  # on purpose
        assert self._stage.stack.stop_part(part), f"{part} did not drain in time"


def test_the_front_door_moves_out_of_ingest_and_back_and_no_accepted_mail_is_lost_or_doubled(
    stage: Stage, one_seed: int
) -> None:
    run = stage.open_run(f"door-move-{one_seed}", one_seed, (make_credential(PASSWORD, 1),))
    move = Move(stage, run)
    move.replace_ingest(has_door=True)
    submissions = list(mixture.mix(run.name, one_seed, MESSAGES))
    injector = SmtpInjector(str(stage.stack.endpoints.smtps), PASSWORD, submissions)
    steps: list[Callable[[], None]] = [
        move.start_front,
        partial(move.replace_ingest, has_door=False),
        partial(move.replace_ingest, has_door=True),
        move.stop_front,
    ]
    injector.start()
    try:
        for number, step in enumerate(steps, 1):
            answered = MESSAGES * number // (len(steps) + 1)
            stage.wait_for(run, partial(injector.has_answered, answered), ANSWER_TIMEOUT_S)
            assert not injector.is_done(), "nothing is sent any more when the door moves"
            step()
        findings = stage.finish(run, injector)
    finally:
        if FRONT not in stage.down:
            move.stop_front()
        move.replace_ingest(has_door=True, is_alone=True)
    assert not injector.refused_logins
    assert findings.counts.promised == MESSAGES
    print(f"{injector.retried} submissions were repeated")
