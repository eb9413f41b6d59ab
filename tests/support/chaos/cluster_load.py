"""Load by Kafka and by SMTP on a stage, and how long mail stood still.

Job: run both injectors at a steady rate, wait until more mail has arrived, judge both runs, and
measure the stalls after a given moment. The test decides whether a stall is too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

from msgspec import Struct

from shared.registry.credentials import make_credential
from tests.support.chaos import mixture
from tests.support.chaos.findings import Findings
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.scenes import checks
from tests.support.chaos.smtp_injector import SESSIONS_PER_CLIENT, SmtpInjector
from tests.support.chaos.stage import Promising, Run, Stage

PASSWORD: Final = "correct-horse-battery"
KAFKA_RATE_PER_S: Final = 30.0
SMTP_RATE_PER_S: Final = 12.0
CLIENTS: Final = 2
# The load ends with the last fault; this bounds the number of its messages.
LONGEST_LOAD_S: Final = 1_500.0
ARRIVE_TIMEOUT_S: Final = 300.0
SETTLE_TIMEOUT_S: Final = 300.0


class Stalls(Struct, frozen=True):
    """The longest pauses after a given moment, and the time that messages took, in seconds.

    `accepting_s`: the longest time without a 250 of the front door. `arriving_s`: the longest time
    in which the destination accepted nothing. `p99_s`: from the acknowledgement of a message to its
    arrival.
    """

    accepting_s: float
    arriving_s: float
    p99_s: float

    @property
    def longest_s(self) -> float:
        return max(self.accepting_s, self.arriving_s)


class ClusterLoad:
    """The two runs of a test and their injectors."""

    def __init__(self, stage: Stage, fleet: Fleet, name: str, seed: int) -> None:
        self._stage = stage
        self._fleet = fleet
        self.started_at = time.time()
        self.by_kafka = stage.open_run(f"{name}-k-{seed}", seed)
        self._kafka = self.by_kafka.inject(int(KAFKA_RATE_PER_S * LONGEST_LOAD_S), KAFKA_RATE_PER_S)
        self.by_smtp = stage.open_run(f"{name}-s-{seed}", seed, (make_credential(PASSWORD, 1),))
        mail = mixture.mix(self.by_smtp.name, seed, int(SMTP_RATE_PER_S * LONGEST_LOAD_S))
        assert stage.stack.endpoints.smtps is not None
        pause_s = CLIENTS * SESSIONS_PER_CLIENT / SMTP_RATE_PER_S
        self._smtp = SmtpInjector(stage.stack.endpoints.smtps, PASSWORD, list(mail), pause_s)
        self._smtp.start()

    @property
    def runs(self) -> tuple[Run, Run]:
        """Both runs."""
        return self.by_kafka, self.by_smtp

    def replies(self, code: int) -> int:
        """Return how often the front door has replied with this code."""
        return sum(reply.code == code for reply in self._smtp.replies())

    def wait_for(self, is_there: Callable[[], bool]) -> None:
        """Wait for a condition and keep the parts running."""
        self._stage.wait_for(self.by_kafka, is_there, ARRIVE_TIMEOUT_S)

    def wait_arrived(self, seconds: float) -> None:
        """Wait until each run has as many further arrivals as are expected in this time."""
        wanted = {
            run.name: len(self._stage.accepted_at_once(run)) + int(rate * seconds)
            for run, rate in zip(self.runs, (KAFKA_RATE_PER_S, SMTP_RATE_PER_S), strict=True)
        }
        self.wait_for(
            lambda: all(
                len(self._stage.accepted_at_once(run)) >= wanted[run.name] for run in self.runs
            )
        )

    def stop(self) -> None:
        """Submit no more new messages."""
        self._kafka.stop()
        self._smtp.stop()

    def stalls_since(self, moment: float) -> Stalls:
        """Measure the stalls from this moment (time.time()) until now, under load."""
        now = time.time()
        accepted = [reply.t for reply in self._smtp.replies() if reply.code == 250]
        arrived = {
            line.message_id: line.t
            for run in self.runs
            for line in self._stage.accepted_at_once(run)
        }
        promised = [*self._kafka.promises(), *self._smtp.promises()]
        took = sorted(
            arrived[each.message_id] - each.at_ms / 1000
            for each in promised
            if each.at_ms / 1000 >= moment and each.message_id in arrived
        )
        return Stalls(
            accepting_s=_longest_gap(accepted, moment, now),
            arriving_s=_longest_gap(arrived.values(), moment, now),
            p99_s=round(took[int(len(took) * 0.99)], 1) if took else 0.0,
        )

    def judge(self) -> list[Findings]:
        """Wait for the last final events; raise AssertionError with all faults."""
        self.stop()

        def is_idle() -> bool:
            return not self._fleet.in_flight()

        found = []
        loads: list[tuple[Run, Promising]] = [
            (self.by_kafka, self._kafka),
            (self.by_smtp, self._smtp),
        ]
        for run, injector in loads:
            findings = self._stage.settle(run, injector, is_idle, SETTLE_TIMEOUT_S)
            assert findings.clean, f"{run.name}: {findings.explain()}"
            found.append(findings)
        assert checks(self._stage) == []
        return found


def _longest_gap(times: Iterable[float], since: float, until: float) -> float:
    moments = [since, *sorted(t for t in times if since <= t <= until), until]
    return round(max(later - t for t, later in pairwise(moments)), 1)
