"""Makes the C library keep freed memory for the next allocations (glibc's mallopt).

Kafka records are built, compressed and read in blocks of some hundred kilobytes, which are copied
several times. With glibc's default thresholds such a block is returned to the system as soon as it
is freed, and the next one is mapped again: a page fault per 4 KB, 4 per message at the front door,
and building a record takes ten times as long.
"""

from __future__ import annotations

import ctypes
from typing import Final

# malloc.h of glibc
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
# Larger blocks are mapped separately and returned to the system at once.
KEPT_BLOCK_BYTES: Final = 4 * 1_048_576
# The free memory that may remain at the end of each thread's heap.
KEPT_BYTES: Final = 32 * 1_048_576


def keep_freed_memory() -> bool:
    """Set the thresholds for this process; return False if the C library has none (musl)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
