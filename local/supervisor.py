"""Keeps the processes of a pipeline running and stops them in order.

Owns: starting processes, waiting until they are ready, restarting processes that died (after a
growing pause, with a message), except processes that a test holds, and stopping processes. Does not
own: the list of processes (stack.py), and running a single process (process.py).

Guarantees: after `stop`, no process is left, even if a start was interrupted. If the supervisor's
own process is killed, the kernel kills all processes that it started (parent_death.py). The kernel
also kills a process when the thread that started the process ends. Therefore all processes are
started by one thread that lives as long as the supervisor.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from cli.stack.state import Ended
from local.process import PartNotStarted, Process, ProcessSpec, Start, execute

_LOOK_EVERY_S: Final = 0.1
# A process that dies is restarted after this pause. The pause doubles with each further death.
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
# If a process has run for this long, the next pause is as short as the first pause.
SETTLED_AFTER_S: Final = 30.0
# A start can take minutes on a busy machine, so the wait is reported at this interval.
TELL_EVERY_S: Final = 20.0

Say = Callable[[str], None]
# A function that is called with the name of a process and the seconds until it was ready.
Report = Callable[[str, float], None]


def say_on_stderr(text: str) -> None:
    """Print a message for the user on standard error."""
    print(f"sluice: {text}", file=sys.stderr, flush=True)


def pause_s(deaths: int) -> float:
    """Return the pause before a restart. `deaths` is the number of deaths in a row, at least 1."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(deaths - 1, 10)))


class _Kept:
    """A supervised process: its specification, the running process, its deaths."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.process: Process | None = None
        self.held = False
        # If a process was never ready, it is not restarted, and its failed start is reported.
        self.was_ready = False
        self.deaths = 0
        self.restarts = 0
        self.last_exit_code: int | None = None
        self.due_at: float | None = None


class Supervisor:
    """Starts, watches and ends processes. All methods may be called from any thread."""

    def __init__(
        self,
        logs: Path,
        restart: bool,
        say: Say,
        tell_every_s: float = TELL_EVERY_S,
        *,
        start: Start = execute,
    ) -> None:
        self._logs = logs
        self._tell_every_s = tell_every_s
        self._restart = restart
        self._start = start
        self._say = say
        self._lock = threading.RLock()
        self._kept: dict[str, _Kept] = {}
        self._stopping = threading.Event()
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log"):  # These files are logs of an earlier pipeline.
            old.unlink()
        self._watcher.start()

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._logs / f"{name}.log"

    def names(self) -> list[str]:
        """Return the names of all supervised processes, in the order of their start."""
        with self._lock:
            return list(self._kept)

    def process(self, name: str) -> Process:
        """Return the running or last process of a part. Raises KeyError if it never started."""
        with self._lock:
            process = self._kept[name].process
        if process is None:
            raise KeyError(name)
        return process

    def spec(self, name: str) -> ProcessSpec:
        """Return the specification of a process."""
        with self._lock:
            return self._kept[name].spec

    def restarts(self, name: str) -> int:
        """Return the number of restarts of a process after it died."""
        with self._lock:
            return self._kept[name].restarts

    def ended(self) -> dict[str, Ended]:
        """Return, by name, the processes that died and that the supervisor tried to restart."""
        with self._lock:
            return {
                name: Ended(kept.restarts, kept.last_exit_code)
                for name, kept in self._kept.items()
                if kept.restarts
            }

    def start(self, specs: Sequence[ProcessSpec], report: Report | None = None) -> None:
        """Start these processes in parallel, and wait until all are ready. Raises
        PartNotStarted."""
        for spec in specs:
            self.spawn(spec)
        self.wait_ready(*(spec.name for spec in specs), report=report)

    def spawn(self, spec: ProcessSpec) -> None:
        """Start a process without waiting until it is ready. Do nothing if it is already
        running."""
        with self._lock:
            if self._stopping.is_set():
                raise PartNotStarted("the pipeline is being stopped")
            kept = self._kept.setdefault(spec.name, _Kept(spec))
            if kept.process is not None and kept.process.runs:
                return
            kept.spec, kept.held, kept.due_at = spec, False, None
            starting = self._spawner.submit(Process, spec, self.log(spec.name), self._start)
            kept.process = starting.result()

    def wait_ready(self, *names: str, report: Report | None = None) -> None:
        """Wait until these processes are ready. As soon as a process is ready, call `report` for
        it.

        Raises PartNotStarted with the last log lines of a process that is not ready.
        """
        waiting, since = list(names), time.monotonic()
        tell_at = since + self._tell_every_s
        while waiting:
            for name in tuple(waiting):
                if self.spec(name).is_ready():
                    waiting.remove(name)
                    with self._lock:
                        self._kept[name].was_ready = True
                    if report is not None:
                        report(name, time.monotonic() - since)
                else:
                    self._check_alive(name, time.monotonic() - since)
            if waiting and time.monotonic() >= tell_at:
                self._say(f"waiting for {', '.join(waiting)} ({tell_at - since:.0f} s so far)")
                tell_at += self._tell_every_s
            time.sleep(_LOOK_EVERY_S / 2 if waiting else 0)

    def _check_alive(self, name: str, waited_s: float) -> None:
        process, spec = self.process(name), self.spec(name)
        if self._stopping.is_set():
            raise PartNotStarted(f"{name}: the pipeline was stopped before it was ready")
        with self._lock:
            comes_back = self._restart and self._kept[name].was_ready
        if not process.runs and not comes_back:
            fault = f"ended with exit code {process.exit_code} before it was ready"
        elif waited_s > spec.ready_timeout_s:
            fault = f"was not ready within {spec.ready_timeout_s:.0f} s"
        else:
            return
        raise PartNotStarted(f"{name} {fault} ({self.log(name)}):\n{process.log_tail()}")

    def hold(self, name: str) -> None:
        """When this process ends, do not restart it until it is started explicitly."""
        with self._lock:
            self._kept[name].held = True

    def stop_one(self, name: str) -> bool:
        """Stop one process gracefully, without a restart. Returns True if it ended in time."""
        self.hold(name)
        process = self.process(name)
        return process.end(process.spec.stop_timeout_s)

    def stop(self, order: Iterable[Sequence[str]]) -> None:
        """Stop these groups of processes in this order, then all remaining processes."""
        with self._lock:
            self._stopping.set()
        for group in order:
            self._end_together([name for name in group if name in self._kept])
        self._end_together(list(self._kept))
        self._watcher.join()
        self._spawner.shutdown()

    def abandon(self) -> None:
        """Kill all processes at once. No process can finish its work or store anything."""
        with self._lock:
            self._stopping.set()
            processes = [kept.process for kept in self._kept.values() if kept.process]
        for process in processes:
            process.kill()
        self._watcher.join()
        self._spawner.shutdown()

    def _end_together(self, names: Sequence[str]) -> None:
        running = [kept.process for name in names if (kept := self._kept[name]).process]
        running = [process for process in running if process.runs]
        enders = [
            threading.Thread(target=self._end_one, args=(process,), name=f"end-{process.spec.name}")
            for process in running
        ]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def _end_one(self, process: Process) -> None:
        if not process.end(process.spec.stop_timeout_s):
            self._say(
                f"{process.spec.name} did not end within {process.spec.stop_timeout_s:.0f} s "
                "and was killed"
            )

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            with self._lock:
                for kept in list(self._kept.values()):
                    self._look_after(kept)

    def _look_after(self, kept: _Kept) -> None:
        process = kept.process
        if process is None or process.runs or not (self._restart and kept.was_ready):
            return
        if kept.held:
            return
        now = time.monotonic()
        if kept.due_at is None:
            if now - process.started_at > SETTLED_AFTER_S:
                kept.deaths = 0
            kept.deaths += 1
            pause = pause_s(kept.deaths)
            kept.due_at = now + pause
            self._say(
                f"{kept.spec.name} ended (exit code {process.exit_code}); "
                f"restarting it in {pause:.1f} s"
            )
        elif now >= kept.due_at and not self._stopping.is_set():
            kept.restarts += 1
            kept.last_exit_code = process.exit_code
            try:
                self.spawn(kept.spec)
            except OSError as error:  # The disk may be full. The start is repeated later.
                self._say(f"{kept.spec.name} cannot be started: {error}")
