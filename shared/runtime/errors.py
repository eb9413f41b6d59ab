"""Defines the errors that end a command or make a service wait, and all exit codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MAX_REASON_CHARS: Final = 300


class Unavailable(RuntimeError):
    """A required part (Kafka, Redis, the pipeline) cannot be reached; the text gives the reason.

    Services wait and try again. Commands print the text as one line and end with exit code 3.
    """


class PartUnavailable(Unavailable):
    """A part at a known address does not answer."""

    def __init__(self, part: str, where: str, reason: str = "no answer") -> None:
        # Some errors of the Kafka client contain a whole response of the broker.
        shown = reason if len(reason) <= MAX_REASON_CHARS else f"{reason[: MAX_REASON_CHARS - 1]}…"
        super().__init__(f"{part} at {where} is unavailable: {shown}")


class UsageError(Exception):
    """The command cannot be carried out as requested; the text gives the reason."""


class Exit(IntEnum):
    """The exit codes of commands and services."""

    OK = 0
    CHECK_FAILED = 1
    USAGE_ERROR = 2
    PART_UNAVAILABLE = 3
    RESTART = 75  # After this code (EX_TEMPFAIL), the supervisor restarts the process.
    INTERRUPTED = 130  # This code is 128 plus the number of SIGINT.
    KILLED = 137  # This code is 128 plus the number of SIGKILL, which a failpoint imitates.
