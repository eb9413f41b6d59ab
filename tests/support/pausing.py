"""Pauses a process, and waits until it stands still."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Pause the process in the block."""
    pause(pid)
    try:
        yield
    finally:
        resume(pid)


def pause(pid: int) -> None:
    """Pause a process; all its threads stand still when this returns.

    All threads continue until one of them has received the signal. On a busy machine, this is long
    enough for Kafka to acknowledge a record.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _is_paused(pid), "all threads stand still", PATIENCE_S)


def resume(pid: int) -> None:
    """Resume the process."""
    os.kill(pid, signal.SIGCONT)


def _is_paused(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    try:
        return all(each.read_text().rpartition(")")[2].split()[0] == "T" for each in threads)
    except OSError:  # a thread has ended in the meantime
        return False
