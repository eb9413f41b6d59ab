"""Limits for a client that sends no mail: two counts, no clock. Pure.

Owns: the count of refused commands since the last accepted message, and the count of idle commands
since the last complete message. Does not own: the replies (refusals.py).
"""

from __future__ import annotations

from typing import Final

# Commands that a client could repeat without ever sending mail.
IDLE_COMMANDS: Final = frozenset({"NOOP", "RSET", "VRFY", "HELP", "EHLO", "HELO"})


class AbuseLimits:
    """The counts of one session. `max_idle` 0 means no limit."""

    __slots__ = ("_errors", "_idle", "_max_errors", "_max_idle")

    def __init__(self, max_errors: int, max_idle: int) -> None:
        self._errors = 0
        self._idle = 0
        self._max_errors = max_errors
        self._max_idle = max_idle

    def count_error(self) -> bool:
        """Count a refused command; return False if the limit is exceeded."""
        self._errors += 1
        return self._errors <= self._max_errors

    def count_idle(self) -> bool:
        """Count an idle command; return False if the limit is exceeded."""
        self._idle += 1
        return not self._max_idle or self._idle <= self._max_idle

    def renew(self, is_accepted: bool) -> None:
        """Reset the counts after a complete message."""
        self._idle = 0
        if is_accepted:
            self._errors = 0
