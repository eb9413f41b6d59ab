"""Closes a month in a separate process, which a signal stops or kills at a failpoint.

    python -m tests.support.billing.closing_process BOOTSTRAP TOPIC STATEMENTS REDIS CELLS NOW_MS
        MONTH FAILPOINT SIGNAL

Prints the SHA-256 of the valid statement.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from datetime import UTC

from services.billing.core.month import Months
from services.billing.edge.cells import RedisCells
from services.billing.edge.log_ends import EndsAsker
from services.billing.edge.statements.closing import Closer, ClosingParts
from services.billing.edge.statements.topic import StatementTopic
from shared.runtime.clock import FakeClock
from shared.runtime.failpoints import Failpoints
from shared.settings.sections import RedisSettings
from shared.store.client import connect
from shared.stream.client import ClientOptions
from tests.support.billing.stage import Stage


def start(
    stage: Stage, redis_url: str, month: str, failpoint: str, by: signal.Signals
) -> subprocess.Popen[str]:
    """Start to close a month; the process gets this signal at this failpoint."""
    arguments = [stage.bootstrap, stage.topic, stage.statements, redis_url, stage.state]
    arguments += [str(stage.clock.now_ms()), month, failpoint, str(int(by))]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.billing.closing_process", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def main(arguments: list[str]) -> None:
    bootstrap, topic, statements, redis_url, state, now_ms, month, failpoint, by = arguments
    options = ClientOptions(bootstrap, "test")

    def end(_: str) -> None:
        os.kill(os.getpid(), int(by))

    with (
        closing(connect(RedisSettings(url=redis_url))) as store,
        closing(EndsAsker(options, topic)) as ends,
        closing(StatementTopic(options, statements)) as books,
    ):
        parts = ClosingParts(
            cells=RedisCells(store, state),
            topic=books,
            ends=ends,
            months=Months(UTC),
            time_zone="UTC",
            clock=FakeClock(int(now_ms)),
            failpoints=Failpoints({failpoint: 1}, end),
        )
        print(Closer(parts).close(month, "command").sha256)


if __name__ == "__main__":
    main(sys.argv[1:])
