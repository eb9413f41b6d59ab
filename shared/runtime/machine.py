"""Sets how a process uses processors, open files and memory, once when the process starts.

Processors (sched_setaffinity): Python runs only one thread of a process at a time. If the threads
run on several processors, each switch wakes a thread on another processor. That thread often wakes
too late and sleeps again. So several processes of a service on one host have a higher throughput if
each process has its own processor (docs/decisions/0027-a-processor-each.md).

Memory: Kafka records are built, compressed and read in blocks of some hundred kilobytes, which are
copied several times. With glibc's default thresholds, such a block is returned to the system as
soon as it is freed, and the next block is mapped again. Each page of 4 KB in a new block then
causes a page fault: the front door has 4 page faults per message, and building a record takes ten
times as long. keep_freed_memory() makes the C library keep such blocks for the next allocations
(mallopt).

Garbage collection: a service creates some hundred objects per message, nearly all without cycles.
With Python's default threshold (700 objects), the cyclic collector takes a tenth of the service's
time. calm_collector() makes the collector run less often, and excludes the objects that were loaded
at the start.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
from collections.abc import Sequence
from typing import Final

from shared.runtime.errors import UsageError

log = logging.getLogger(__name__)

# The number of files that Kafka, Redis, logs, the health server and Python itself keep open.
OTHER_FILES: Final = 256
# malloc.h of glibc
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
# Larger blocks are mapped separately, and are returned to the system as soon as they are freed.
KEPT_BLOCK_BYTES: Final = 4 * 1_048_576
# The free memory that may remain at the end of each thread's heap.
KEPT_BYTES: Final = 32 * 1_048_576
# The thresholds of the collector's three generations.
_YOUNG_OBJECTS: Final = 50_000
_MIDDLE_RUNS: Final = 20
_OLD_RUNS: Final = 20


def bind_processors(processors: Sequence[int]) -> None:
    """Run this process and its later threads only on these processors; [] means all.

    Call this before other threads are started. Raises UsageError if the system forbids binding.
    """
    if not processors:
        return
    setting = f"runtime.processors = {list(processors)}"
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError(f"{setting}: this system binds no process to processors")
    allowed = os.sched_getaffinity(0)
    if not allowed.issuperset(processors):
        listed = ", ".join(map(str, sorted(allowed)))
        raise UsageError(f"{setting}: this process may use only {listed}")
    os.sched_setaffinity(0, processors)


def allow_open_files(count: int) -> int:
    """Allow OTHER_FILES plus `count` open files; return how many of the `count` files are possible.

    On many systems the soft limit is 1,024; any process may raise the soft limit up to the hard
    limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return count
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning(
            "fewer connections than allowed: raise the limit on open files (ulimit -Hn)",
            extra={"hard_limit": hard, "wanted": wanted},
        )
        wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted - OTHER_FILES


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory; return False if the library has no thresholds (musl)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))


def calm_collector() -> None:
    """Let the cyclic garbage collector run less often, and only on objects created from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _MIDDLE_RUNS, _OLD_RUNS)
