"""How long a server bears a client that brings no mail: two counts, no clock. Pure.

Owns: the count of refused commands since the last accepted message, the count of commands that
lead to no mail since the last whole message. Does not own: the replies (server.py).
"""

from __future__ import annotations

from typing import Final

# What a client may ask for again and again without ever sending anything.
IDLE_COMMANDS: Final = frozenset({"NOOP", "RSET", "VRFY", "HELP", "EHLO", "HELO"})


class AbuseLimits:
    """The counts of one session. A limit of 0 is none."""

    __slots__ = ("_errors", "_idle", "_max_errors", "_max_idle")

    def __init__(self, max_errors: int, max_idle: int) -> None:
        self._errors = 0
        self._idle = 0
        self._max_errors = max_errors
        self._max_idle = max_idle

    def has_borne_error(self) -> bool:
        """Count one more refused command; False when that was one too many."""
        self._errors += 1
        return self._errors <= self._max_errors

    def has_borne_idle(self) -> bool:
        """Count one more command that leads nowhere; False when that was one too many."""
        self._idle += 1
        return not self._max_idle or self._idle <= self._max_idle

    def renew(self, is_accepted: bool) -> None:
        """A message has come whole."""
        self._idle = 0
        if is_accepted:
            self._errors = 0
