"""Exit codes: what each means, in every command and service."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What an exit code means."""

    OK = 0
    CHECK_FAILED = 1
    USAGE_ERROR = 2
    PART_UNAVAILABLE = 3
    RESTART = 75  # EX_TEMPFAIL: the supervisor restarts the process
    INTERRUPTED = 130  # 128 and the number of SIGINT
    KILLED = 137  # 128 and the number of SIGKILL, which a failpoint imitates
