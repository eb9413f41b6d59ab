"""The refusals that the session sends without asking the policy. Values only."""

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
