"""Reads the CPU time and memory of processes from /proc. Works on Linux only."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
ONE_MIB: Final = 1024 * 1024
_EVERY_S: Final = 0.02


class Usage(Struct, frozen=True):
    """The CPU seconds that a process has used since its start, and its current and peak resident
    memory."""

    cpu_s: float
    rss_mb: float
    peak_rss_mb: float


def read_usage(pid: int) -> Usage | None:
    """Return the usage of process `pid` and its ended children. Return None if the process has
    ended."""
    try:
        # The name of the process (2nd field) may contain spaces and brackets, so the fields after
        # the name are counted from there.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    cpu_s = sum(int(field) for field in fields[11:15]) / _TICKS_PER_S
    return Usage(cpu_s, _kb(status, "VmRSS:") / 1024, _kb(status, "VmHWM:") / 1024)


def _kb(status: str, name: str) -> int:
    for line in status.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def read_all(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Return the usage of each named process that has not ended."""
    found = {name: read_usage(pid) for name, pid in pids.items()}
    return {name: usage for name, usage in found.items() if usage is not None}


def cpu_us_per_message(
    before: Mapping[str, Usage], after: Mapping[str, Usage], messages: int
) -> dict[str, float]:
    """Return the CPU microseconds per message that each process used between two measurements."""
    return {
        name: round(
            (usage.cpu_s - (before[name].cpu_s if name in before else 0.0)) * 1e6 / messages, 1
        )
        for name, usage in after.items()
    }


def read_own_rss_mb() -> float:
    """Return the resident memory of this process in MiB."""
    return _kb(Path("/proc/self/status").read_text(), "VmRSS:") / 1024


class Watch:
    """The memory of this process in MiB: the first measured value, and the largest value so far."""

    def __init__(self) -> None:
        self.first = self.most = memory()

    def look(self) -> None:
        """Measure the memory again."""
        self.most = max(self.most, memory())


@contextmanager
def watching() -> Iterator[Watch]:
    """Measure the memory of this process many times per second, until the context ends."""
    watch, ended = Watch(), threading.Event()

    def run() -> None:
        while not ended.wait(_EVERY_S):
            watch.look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def memory() -> int:
    """Return the resident memory of this process in whole MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // ONE_MIB
