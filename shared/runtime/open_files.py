"""Raises this process's limit on open files to the number that it may need (POSIX setrlimit)."""

from __future__ import annotations

import logging
import resource
from typing import Final

log = logging.getLogger(__name__)

# Files held open by Kafka, Redis, logs, the health server and Python itself.
OTHER_FILES: Final = 256


def allow_open_files(count: int) -> int:
    """Allow `count` open files in addition to OTHER_FILES, within the hard limit; return how many.

    On many systems the soft limit is 1,024; any process may raise it up to the hard limit.
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
