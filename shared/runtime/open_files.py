"""Raises the limit on open files of this process to what it may need (POSIX setrlimit)."""

from __future__ import annotations

import logging
import resource
from typing import Final

log = logging.getLogger(__name__)

# Kafka, Redis, logs, health and what Python itself holds open.
OTHER_FILES: Final = 256


def allow_open_files(count: int) -> int:
    """Let `count` files be open beside OTHER_FILES, or as many as the hard limit lets; how many.

    Many systems begin with a soft limit of 1,024, which any process may raise up to the hard one.
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
