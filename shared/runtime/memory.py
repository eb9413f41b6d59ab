"""How a process that works on many messages uses memory: two settings, made once at its start.

Kafka records are built, compressed and read in blocks of some hundred kilobytes, which are copied
several times. With glibc's default thresholds such a block is returned to the system as soon as it
is freed, and the next one is mapped again: a page fault per 4 KB, 4 per message at the front door,
and building a record takes ten times as long. keep_freed_memory() makes the C library keep such
blocks for the next allocations (mallopt).

A service creates some hundred objects per message, nearly all without cycles. With Python's
thresholds (700 objects) the cyclic collector takes a tenth of its time; calm_collector() makes it
run less often, and leaves out what was loaded at the start.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# malloc.h of glibc
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
# Larger blocks are mapped separately and returned to the system at once.
KEPT_BLOCK_BYTES: Final = 4 * 1_048_576
# The free memory that may remain at the end of each thread's heap.
KEPT_BYTES: Final = 32 * 1_048_576
# The thresholds of the collector's three generations.
_YOUNG_OBJECTS: Final = 50_000
_MIDDLE_RUNS: Final = 20
_OLD_RUNS: Final = 20


def keep_freed_memory() -> bool:
    """Set the thresholds for this process; return False if the C library has none (musl)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))


def calm_collector() -> None:
    """Let the cyclic garbage collector run less often, on what is created from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _MIDDLE_RUNS, _OLD_RUNS)
