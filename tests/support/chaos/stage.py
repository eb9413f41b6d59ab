"""The stage of the chaos tests: one whole pipeline that can be damaged, and its runs.

Job: start the pipeline once, give each test its own clients and intake topics, kill
and restart parts, wait until every promise has a final event, gather the evidence
and let the ledger checker judge it. A failed run reports its faults, with the parts' logs.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

from local.stack import Stack, StackOptions
from shared.registry.credentials import Credential
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.runtime.failpoints import EXIT_CODE
from shared.stream import watchdog
from tests.support.chaos import mixture
from tests.support.chaos.clients import clients_of
from tests.support.chaos.evidence import Evidence, Promise, SinkLine
from tests.support.chaos.findings import Findings
from tests.support.chaos.injector import Injector
from tests.support.chaos.ledger import check
from tests.support.chaos.witnesses import Bill, EventWatch, SinkJournal
from tests.support.fork_server import fork
from tests.support.patience import PATIENCE_S

# This is a tenth of the default, so that the limit of second copies is strict.
MAX_IN_FLIGHT: Final = 200
# Duplicate events of a replay arrive with the first transactions after it.
QUIET_S: Final = 1.0
_POLL_S: Final = 0.1

# Retries after 1.2 s instead of 1 minute; a restarted process takes over immediately.
SERVICE_ENV: Final = {
    "SLUICE_KAFKA__STATIC_MEMBERSHIP": "true",
    "SLUICE_DELIVER__RETRY_TIME_SCALE": "0.02",
    "SLUICE_DELIVER__IN_DOUBT_DELAY_S": "0",
    "SLUICE_DELIVER__MAX_IN_FLIGHT": str(MAX_IN_FLIGHT),
}


class Promising(Protocol):
    """An injector of a run's messages."""

    def is_done(self) -> bool:
        """Return whether all are submitted."""
        ...

    def finish(self, timeout_s: float) -> tuple[Promise, ...]:
        """Wait until all are submitted; return the promises."""
        ...


class Run:
    """One test's share of the stage: its clients, topics, recipients and promises."""

    def __init__(self, name: str, seed: int, folder: Path, bootstrap: str) -> None:
        self.name = name
        self.seed = seed
        self.clients = frozenset(sender.client for sender in mixture.senders(name))
        self.rcpt_suffix = mixture.recipient_suffix(name)
        self.copies_bound = 0
        self.promises: tuple[Promise, ...] = ()
        self._journal = folder / f"promises-{name}.jsonl"
        self._bootstrap = bootstrap

    def inject(
        self,
        count: int,
        rate_per_s: float,
        released: int | None = None,
        fates: Sequence[mixture.Fate] = mixture.FATES,
    ) -> Injector:
        """Start an injector of this run's mixed messages."""
        submissions = list(mixture.mix(self.name, self.seed, count, fates=fates))
        return self.inject_these(submissions, rate_per_s, released)

    def inject_these(
        self,
        submissions: Sequence[mixture.Submission],
        rate_per_s: float,
        released: int | None = None,
    ) -> Injector:
        """Start an injector of these messages of the run's clients."""
        injector = Injector(self._bootstrap, submissions, self._journal, rate_per_s, released)
        injector.start()
        return injector


class Stage:
    """A running pipeline, its witnesses, and every run so far.

    The test has stopped the parts in `down`; they are not restarted, and their end is not a fault.
    """

    def __init__(
        self, name: str, env: Mapping[str, str] | None = None, *, brokers: int = 1
    ) -> None:
        own = {**SERVICE_ENV, **(env or {})}
        options = StackOptions(
            name=name, start=fork, restart=False, is_lasting=False, env=own, brokers=brokers
        )
        self.stack = Stack(options)
        self.stack.start()
        self.bootstrap = self.stack.endpoints.kafka
        self._events = EventWatch(self.bootstrap)
        self._sink = SinkJournal(self.stack.sink_journal)
        self._bill = Bill(self.stack.endpoints.redis)
        self.runs: list[Run] = []
        self.down: set[str] = set()

    def close(self, keep: bool) -> None:
        """Stop the pipeline; `keep` keeps its folder for the analysis of a failure."""
        self._events.close()
        self.stack.abandon()
        if not keep:
            shutil.rmtree(self.stack.folder, ignore_errors=True)

    # --- runs -----------------------------------------------------------------------------

    def open_run(self, name: str, seed: int, credentials: tuple[Credential, ...] = ()) -> Run:
        """Register this run's clients and create their intake topics."""
        self._revive()
        run = Run(name, seed, self.stack.folder, self.bootstrap)
        clients = clients_of(name, credentials)
        publish.apply(self.stack.kafka, Changes(added=clients))
        self.runs.append(run)
        print(f"{name}: seed {seed} (this one again: pytest tests/chaos --seed {seed})")
        return run

    def finish(self, run: Run, injector: Promising) -> Findings:
        """Wait for the promises and final events, then judge: AssertionError with every fault."""
        findings = self.settle(run, injector)
        print(f"{run.name}: {findings.counts}, copies allowed {run.copies_bound}")
        assert findings.clean, f"{run.name}, seed {run.seed}: {findings.explain()}"
        return findings

    def settle(
        self,
        run: Run,
        injector: Promising,
        is_idle: Callable[[], bool] = lambda: True,
        timeout_s: float = PATIENCE_S,
    ) -> Findings:
        """Wait for the promises, their final events and `is_idle`, then judge."""
        self._wait_handed_in(run, injector)
        run.promises = injector.finish(PATIENCE_S)
        self._wait_settled(run, is_idle, timeout_s)
        return self.judge(run)

    def accepted_at_once(self, run: Run) -> list[SinkLine]:
        """Return the messages of a run that the sink accepted at once, in this order.

        Only these messages show how long mail waited, because the sink delayed all others.
        """
        return sorted(
            (
                entry
                for entry in self._sink.lines(run.rcpt_suffix)
                if entry.verdict == "accepted" and entry.rcpt.startswith(mixture.AT_ONCE)
            ),
            key=lambda entry: entry.t,
        )

    def longest_silence_s(self, run: Run) -> float:
        """Return the longest time between two messages of a run that the sink accepted at once."""
        times = (entry.t for entry in self.accepted_at_once(run))
        return max((later - t for t, later in pairwise(times)), default=0.0)

    def finished_runs(self) -> list[Run]:
        """Return the runs with known promises."""
        return [run for run in self.runs if run.promises]

    def judge(self, run: Run) -> Findings:
        """Gather the current evidence of a run and check it."""
        evidence = Evidence(
            promises=run.promises,
            sink=self._sink.lines(run.rcpt_suffix),
            events=self._events.events(run.clients),
            tallies=self._events.tallies(run.clients),
            bill=tuple(self._bill.rows(run.clients, self._events.next_offsets(), PATIENCE_S)),
        )
        return check(evidence, run.copies_bound)

    def wait_for(self, run: Run, is_there: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a condition and keep the parts running; AssertionError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not is_there():
            assert time.monotonic() < deadline, f"{run.name}: not there after {timeout_s} s"
            self.look_after_parts(run)
            time.sleep(_POLL_S)

    def _wait_handed_in(self, run: Run, injector: Promising) -> None:
        """Wait until nothing is left to submit, and keep the parts running."""
        deadline = time.monotonic() + PATIENCE_S
        while not injector.is_done() and time.monotonic() < deadline:
            self.look_after_parts(run)
            time.sleep(_POLL_S)

    def _wait_settled(self, run: Run, is_idle: Callable[[], bool], timeout_s: float) -> None:
        """Wait until every promise has a final event and no more events of the run arrive.

        After `timeout_s` in which no message ended, the wait is over.
        """
        wanted = {promise.message_id for promise in run.promises}
        deadline, ended = time.monotonic() + timeout_s, 0
        while time.monotonic() < deadline:
            self.look_after_parts(run)
            if self._has_ended(run, wanted) and is_idle():
                return
            if (more := len(wanted & self._ended(run))) > ended:
                deadline, ended = time.monotonic() + timeout_s, more
            time.sleep(_POLL_S)

    def _ended(self, run: Run) -> set[str]:
        """Return the Message-IDs of the run's messages that have a final event."""
        return set().union(*(self._events.ended(client) for client in run.clients))

    def _has_ended(self, run: Run, wanted: set[str]) -> bool:
        """Return whether these messages have their final events and no more events arrive."""
        if self._events.quiet_s(run.clients) <= QUIET_S:
            self._events.raise_error()
            return False
        return wanted <= self._ended(run)

    def _revive(self) -> None:
        """Restart parts that a failed test left down, and wait until all are ready."""
        wanted = [part for part in self.stack.parts if part not in self.down]
        for part in wanted:
            if not self.stack.process(part).runs:
                self.restart(part)
        for part in wanted:
            self.stack.wait_ready(part)

    # --- parts ----------------------------------------------------------------------------

    def look_after_parts(self, run: Run) -> None:
        """Restart parts that their watchdog ended; no part may have ended otherwise.

        A hanging commit is ended with its process (shared/stream/watchdog.py); a supervisor
        of the services restarts it, and so does this method.
        """
        for name in self.stack.parts:
            process = self.stack.process(name)
            if process.runs or name in self.down:
                continue
            if process.exit_code != watchdog.EXIT_CODE:
                raise AssertionError(
                    f"{name} ended with {process.exit_code} by itself:\n{process.log_tail()}"
                )
            print(f"{run.name}: {name} was ended by its watchdog and is started again")
            if name.startswith("deliver"):
                run.copies_bound += MAX_IN_FLIGHT
            self.restart(name)

    def kill(self, part: str, number: int = signal.SIGKILL) -> None:
        """Send a signal and wait until the part has ended."""
        self.stack.kill(part, number)
        if not self.stack.process(part).wait(PATIENCE_S):
            raise AssertionError(f"{part} did not end on signal {number}")

    def restart(self, part: str, failpoint: str = "") -> None:
        """Start a part that has ended, optionally with a failpoint."""
        self.stack.start_part(part, {"SLUICE_FAILPOINT": failpoint} if failpoint else {})

    def wait_failpoint(self, part: str, timeout_s: float) -> bool:
        """Return whether the part ended within the time; its failpoint must be the reason."""
        process = self.stack.process(part)
        if not process.wait(timeout_s):
            return False
        if process.exit_code != EXIT_CODE:
            raise AssertionError(
                f"{part} ended with {process.exit_code}, not by its failpoint:\n"
                f"{process.log_tail()}"
            )
        return True


def stage_name() -> str:
    """Return a name that no other pipeline on this machine has."""
    return f"chaos-{os.getpid()}"
