"""The states of a server's session and which command each lets through (RFC 5321, 4.1.4).

Owns: the order of commands, as a table. Does not own: what they do (server.py).
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Final

from shared.smtp.reply import Reply


class State(IntEnum):
    """Where a session stands."""

    # IntEnum: an Enum is hashed by a Python function, which every command would pay for.

    BANNER = auto()  # connected; the greeting is not sent yet
    GREETED = auto()  # no EHLO yet
    READY = auto()
    MAIL = auto()  # a sender is taken, no recipient yet
    RCPT = auto()  # at least one recipient is taken
    CONTENT = auto()  # 354 was given
    TLS = auto()  # 220 to STARTTLS was given; the handshake is the edge's
    CLOSED = auto()


_ANY: Final = frozenset({State.GREETED, State.READY, State.MAIL, State.RCPT})
_HELLO_FIRST: Final = Reply(503, "5.5.1", "Say EHLO first")
_NESTED: Final = Reply(503, "5.5.1", "A transaction is open already")
_NO_SENDER: Final = Reply(503, "5.5.1", "Give MAIL first")
_NO_RECIPIENT: Final = Reply(554, "5.5.1", "No valid recipients")

# Verb to the states in which it may be given.
ALLOWED: Final[dict[str, frozenset[State]]] = {
    "EHLO": _ANY,
    "HELO": _ANY,
    "MAIL": frozenset({State.READY}),
    "RCPT": frozenset({State.MAIL, State.RCPT}),
    "DATA": frozenset({State.RCPT}),
    "STARTTLS": frozenset({State.READY}),
    "RSET": _ANY,
    "NOOP": _ANY,
    "VRFY": _ANY,
    "HELP": _ANY,
    "QUIT": _ANY,
}

# (verb, state) to the refusal, for the pairs that ALLOWED leaves out.
REFUSED: Final[dict[tuple[str, State], Reply]] = {
    ("MAIL", State.GREETED): _HELLO_FIRST,
    ("MAIL", State.MAIL): _NESTED,
    ("MAIL", State.RCPT): _NESTED,
    ("RCPT", State.GREETED): _HELLO_FIRST,
    ("RCPT", State.READY): _NO_SENDER,
    ("DATA", State.GREETED): _HELLO_FIRST,
    ("DATA", State.READY): _NO_SENDER,
    ("DATA", State.MAIL): _NO_RECIPIENT,
    ("STARTTLS", State.GREETED): _HELLO_FIRST,
    ("STARTTLS", State.MAIL): _NESTED,
    ("STARTTLS", State.RCPT): _NESTED,
}
