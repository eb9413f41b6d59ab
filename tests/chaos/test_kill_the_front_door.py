"""Fault: ingest or Kafka dies, in the middle of 10,000 submissions by SMTP and at each step.

Every message that got its 250 arrives once. The client submits a message without a 250 again,
with the same Message-ID. This message, too, arrives once, is billed once and has one final event,
no matter if the first submission was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

from shared.registry.credentials import make_credential
from shared.runtime.failpoints import DOOR_NAMES
from tests.support.chaos import mixture
from tests.support.chaos.smtp_injector import SmtpInjector
from tests.support.chaos.stage import Run, Stage
from tests.support.patience import PATIENCE_S

MESSAGES = 10_000
PASSWORD = "correct-horse-battery"
SERVICE = "ingest"
# Kafka needs about 8 s to restart, and ingest 2 s; a busy machine needs several times as long.
ANSWER_TIMEOUT_S = 300


# The sessions of each client; messages that arrive together are stored together.
SESSIONS = 12
FEW_SESSIONS = 6  # so that each step is passed often enough


def prepare(
    stage: Stage, name: str, seed: int, count: int, sessions: int
) -> tuple[Run, SmtpInjector]:
    run = stage.open_run(name, seed, (make_credential(PASSWORD, 1),))
    submissions = list(mixture.mix(run.name, seed, count))
    assert stage.stack.endpoints.smtps is not None
    return run, SmtpInjector(stage.stack.endpoints.smtps, PASSWORD, submissions, sessions=sessions)


def moments(random: Random, faults: int) -> Sequence[int]:
    """Return the number of replies after which each fault occurs, spread over the run."""
    return [
        int(MESSAGES * (n + random.uniform(-0.4, 0.4)) / (faults + 1)) for n in range(1, faults + 1)
    ]


def test_what_got_its_250_arrives_once_though_ingest_and_kafka_are_killed(
    stage: Stage, one_seed: int
) -> None:
    random = Random(one_seed)
    run, injector = prepare(stage, f"door-kill-{one_seed}", one_seed, MESSAGES, SESSIONS)
    injector.start()
    parts = [SERVICE, SERVICE, "kafka", SERVICE]
    random.shuffle(parts)
    for part, moment in zip(parts, moments(random, len(parts)), strict=True):
        stage.wait_for(run, partial(injector.has_answered, moment), ANSWER_TIMEOUT_S)
        stage.kill(part)
        stage.restart(part)
    findings = stage.finish(run, injector)
    assert injector.retried
    assert not injector.refused_logins
    assert findings.counts.promised == MESSAGES


def test_dying_at_each_step_of_a_submission_loses_nothing_and_doubles_nothing(
    stage: Stage, one_seed: int
) -> None:
    random = Random(one_seed)
    count = 1_500
    run, injector = prepare(stage, f"door-fail-{one_seed}", one_seed, count, FEW_SESSIONS)
    stage.stack.stop_part(SERVICE)
    injector.start()
    for point in DOOR_NAMES:
        stage.restart(SERVICE, f"{point}:{random.randint(1, 10)}")
        assert stage.wait_failpoint(SERVICE, PATIENCE_S), f"{point} was not passed"
    stage.restart(SERVICE)
    stage.finish(run, injector)
    assert injector.retried
    assert not injector.refused_logins
