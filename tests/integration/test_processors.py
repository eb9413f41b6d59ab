"""Binding a process to processors; each case uses a separate process, as it cannot be undone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shared.runtime.errors import UsageError
from shared.runtime.machine import bind_processors

ALLOWED = sorted(os.sched_getaffinity(0))
MISSING = max(ALLOWED) + 1_000


def bound(processors: list[int]) -> str:
    """The processors of a process, and of a thread it starts later, after binding."""
    program = (
        "import os, threading; from shared.runtime.machine import bind_processors;"
        f"bind_processors({processors});"
        "show = lambda: print(sorted(os.sched_getaffinity(0)));"
        "show(); thread = threading.Thread(target=show); thread.start(); thread.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize(
    ("processors", "runs_on"),
    [([], ALLOWED), ([ALLOWED[0]], [ALLOWED[0]]), ([ALLOWED[-1]], [ALLOWED[-1]]), (ALLOWED,) * 2],
)
def test_a_process_and_its_threads_run_on_these_processors_only(
    processors: list[int], runs_on: list[int]
) -> None:
    assert bound(processors) == f"{runs_on}\n" * 2


def test_a_processor_that_there_is_not_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        bind_processors([ALLOWED[0], MISSING])
    told = str(refused.value)
    assert told.startswith(
        f"runtime.processors = [{ALLOWED[0]}, {MISSING}]: this process may use only"
    )
    assert told.endswith(", ".join(map(str, ALLOWED)))
    assert sorted(os.sched_getaffinity(0)) == ALLOWED
