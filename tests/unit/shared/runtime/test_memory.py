"""Freed memory is kept for the next allocation, as the page faults show."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.patience import PATIENCE_S

BLOCK_BYTES = 400_000
ROUNDS = 500
# Two blocks at a time, like a record and its compressed copy: the number of their pages.
PAGES = 2 * BLOCK_BYTES // os.sysconf("SC_PAGE_SIZE")

CODE = f"""
import resource
from shared.runtime.machine import keep_freed_memory
kept = keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    one = bytearray(b"x" * {BLOCK_BYTES})
    del one
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_blocks_of_some_hundred_kilobytes_are_not_new_memory_each_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    kept, faults = done.stdout.split()
    # A C library without such thresholds reports this and is not changed.
    assert kept == "False" or int(faults) < ROUNDS * PAGES / 10, done.stdout
