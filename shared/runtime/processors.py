"""Binds this process to some of the machine's processors (sched_setaffinity).

Python runs one thread of a process at a time. If the threads run on several processors, each
switch wakes a thread on another processor, which often comes too late and sleeps again;
several processes of a service on one host have a higher throughput if each has its own processor
(docs/decisions/0027-a-processor-each.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from shared.runtime.errors import UsageError


def bind(processors: Sequence[int]) -> None:
    """Run this process, and threads started later, only on these processors; empty: on any.

    Call it before other threads are started. Raises UsageError if it is not possible.
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
