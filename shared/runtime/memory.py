"""Has the C library keep memory that was freed, for what is asked for next (glibc's mallopt).

Kafka's records are built, compressed and read in blocks of some hundred kilobytes that are copied
several times. With glibc's own thresholds such a block goes back to the system as soon as it is
freed, and the next one is new again: a page fault for each 4 KB, 4 a message at the front door,
and ten times the time for making a record.
"""

from __future__ import annotations

import ctypes
from typing import Final

# malloc.h of glibc
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
# Larger blocks are mapped by themselves and go back at once.
KEPT_BLOCK_BYTES: Final = 4 * 1_048_576
# So much may lie free at the end of each thread's memory.
KEPT_BYTES: Final = 32 * 1_048_576


def keep_freed_memory() -> bool:
    """Set the thresholds for this process; False where the C library has none (musl)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
