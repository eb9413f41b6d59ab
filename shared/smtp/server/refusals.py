"""Defines the refusals that a session sends without its policy, and the limits for idle clients.
This module does no I/O.

Two counts limit a client that sends no mail: the number of refused commands since the last accepted
message, and the number of idle commands since the last complete message. No clock is needed.
"""

from __future__ import annotations

from typing import Final

from shared.smtp.buffer import NoLine
from shared.smtp.grammar import CommandFault
from shared.smtp.reply import Reply

EARLY: Final = Reply(554, "5.5.1", "You spoke before the greeting")
SYNTAX: Final = {
    CommandFault.CONTROL: Reply(500, "5.5.2", CommandFault.CONTROL),
    CommandFault.NOT_UTF8: Reply(500, "5.5.2", CommandFault.NOT_UTF8),
    CommandFault.VERB: Reply(500, "5.5.2", CommandFault.VERB),
}
LINE: Final = {
    NoLine.BARE_LF: Reply(521, "5.5.2", "Lines end with CRLF; a bare LF was received"),
    NoLine.TOO_LONG: Reply(500, "5.5.2", "Command line too long"),
    NoLine.TLS: Reply(521, "5.5.1", "TLS begins after STARTTLS on this port"),
}
LOGIN_LINE: Final = {
    **LINE,
    NoLine.TOO_LONG: Reply(500, "5.5.6", "Authentication exchange line is too long"),
}
LINE_ENDS_ALL: Final = Reply(421, "4.7.0", "The connection ends with a line that is too long")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors")
TOO_IDLE: Final = Reply(421, "4.7.0", "Too many commands without a message")
TOO_MUCH: Final = Reply(421, "4.7.0", "Too much sent ahead of replies")
INJECTED: Final = Reply(421, "4.7.0", "Commands after STARTTLS in plain text")
TOO_LARGE: Final = Reply(552, "5.3.4", "Message too large")
BARE: Final = Reply(550, "5.6.0", "Lines of a message end with CRLF; a bare CR or LF was found")
NUL: Final = Reply(550, "5.6.0", "The message holds a NUL byte, which no text may")
LONG_TEXT: Final = Reply(550, "5.6.0", "A line of the message is too long")
# The commands that a client could repeat forever without sending mail.
IDLE_COMMANDS: Final = frozenset({"NOOP", "RSET", "VRFY", "HELP", "EHLO", "HELO"})


class AbuseLimits:
    """The counts of one session. If `max_idle` is 0, there is no limit for idle commands."""

    __slots__ = ("_errors", "_idle", "_max_errors", "_max_idle")

    def __init__(self, max_errors: int, max_idle: int) -> None:
        self._errors = 0
        self._idle = 0
        self._max_errors = max_errors
        self._max_idle = max_idle

    def count_error(self) -> bool:
        """Count a refused command. Return False if the limit is exceeded."""
        self._errors += 1
        return self._errors <= self._max_errors

    def count_idle(self) -> bool:
        """Count an idle command. Return False if the limit is exceeded."""
        self._idle += 1
        return not self._max_idle or self._idle <= self._max_idle

    def renew(self, is_accepted: bool) -> None:
        """Reset the counts after a complete message."""
        self._idle = 0
        if is_accepted:
            self._errors = 0
