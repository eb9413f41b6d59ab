"""Starts and ends one process of a pipeline, according to its specification.

Owns: starting (through parent_death.py, in a separate process group, with output to a log file),
signalling and ending one process. Does not own: the decision when to start or end a process
(supervisor.py). A caller may start the process in another way. For example, the tests fork a
process that has already imported its modules. Guarantees: when `end` returns, the whole process
group has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, Protocol

from msgspec import Struct, field, structs

from shared.runtime.errors import Unavailable

_GUARD: Final = Path(__file__).with_name("parent_death.py")
_KILL_WAIT_S: Final = 10.0
_TAIL_LINES: Final = 12


class PartNotStarted(Unavailable):
    """A part of the pipeline is missing or does not start. The text contains the name of the part,
    the reason and a fix."""


class ProcessSpec(Struct, frozen=True):
    """The command of a process, the check that the process is ready, and the time limits."""

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    ready_timeout_s: float
    stop_timeout_s: float
    env: dict[str, str] = field(default_factory=dict)
    extra_env: dict[str, str] = field(default_factory=dict)  # Tests set this for one start.

    def with_extra_env(self, extra: dict[str, str]) -> ProcessSpec:
        """Return the same specification with this extra environment, which replaces any earlier
        extra environment."""
        return structs.replace(self, extra_env=extra)


class Child(Protocol):
    """A child process, such as a subprocess.Popen.

    The id of the process is also the id of its process group.
    """

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        ...

    def poll(self) -> int | None:
        """Return None while the process runs, then its exit code or a negative signal number."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends. Raises subprocess.TimeoutExpired."""
        ...


# A function that starts a process and redirects its output to the file.
Start = Callable[[ProcessSpec, IO[bytes]], Child]


def execute(spec: ProcessSpec, out: IO[bytes]) -> Child:
    """Start a process by executing its program."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *spec.command],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        env={**os.environ, **spec.env, **spec.extra_env},
        process_group=0,
    )


class Process:
    """A started process. All methods may be called from any thread."""

    def __init__(self, spec: ProcessSpec, log: Path, start: Start = execute) -> None:
        self.spec = spec
        self.log = log
        self.started_at = time.monotonic()
        with log.open("ab") as out:
            self._child = start(spec, out)

    @property
    def pid(self) -> int:
        """Return the process id, which is also the id of the process group."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """Return None while the process runs, then its exit code or a negative signal number."""
        return self._child.poll()

    @property
    def runs(self) -> bool:
        """Return True while the process runs."""
        return self._child.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to this process, but not to its group. Do nothing if the process has ended.

        After SIGKILL, wait until the process has ended, so that a new start can follow at once.
        """
        if self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if number == signal.SIGKILL:
                self.wait(_KILL_WAIT_S)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process ends. Returns True if it ended in time."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill the whole group at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait(_KILL_WAIT_S)

    def end(self, timeout_s: float) -> bool:
        """Terminate the process, wait, then kill the group. Returns True if it ended in time."""
        self.signal(signal.SIGTERM)
        in_time = self.wait(timeout_s)
        self.kill()
        return in_time

    def log_tail(self) -> str:
        """Return the last lines of the process's log."""
        return tail(self.log)


def tail(log: Path) -> str:
    """Return the last lines of a log. Return "" if there is no log."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL_LINES:])
