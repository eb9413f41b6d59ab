"""Two processes close a month, and one is stopped or killed in the middle: one statement."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.billing.closing_process import start
from tests.support.billing.stage import OCTOBER_MS, Stage, open_stage
from tests.support.patience import PATIENCE_S

MONTH = "2026-10"


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Stage]:
    with open_stage(kafka_bootstrap, redis_url) as found:
        yield found


@pytest.mark.parametrize("failpoint", ["billing.closing", "billing.part_written", "billing.closed"])
def test_a_month_has_one_statement_though_a_process_is_stopped_or_killed_while_it_closes(
    stage: Stage, redis_url: str, failpoint: str
) -> None:
    stage.publish(3, OCTOBER_MS)
    stage.count_all()
    killed = start(stage, redis_url, MONTH, failpoint, signal.SIGKILL)
    assert killed.wait(PATIENCE_S) == -signal.SIGKILL
    stopped = start(stage, redis_url, MONTH, failpoint, signal.SIGSTOP)
    is_closed = failpoint == "billing.closed"
    if not is_closed:  # otherwise the killed one has closed it, and nothing is left to write
        _, status = os.waitpid(stopped.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
    # More is counted before another process closes the month.
    stage.publish(2, OCTOBER_MS)
    stage.count_all()
    with stage.closer() as closer:
        ours = closer.close(MONTH, "command")
    stopped.send_signal(signal.SIGCONT)
    said, _ = stopped.communicate(timeout=PATIENCE_S)
    assert said.strip() == ours.sha256
    assert ours.totals["billed"] == (3 if is_closed else 5)
    with stage.statement_topic() as topic:
        topic.read()
        assert topic.chain.closed[MONTH].statement == ours
