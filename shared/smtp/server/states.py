"""Defines the states of a server's session, and the commands in each state (RFC 5321, 4.1.4).

The order of commands is in one table per AUTH state of a session. The commands are executed in
session.py.
"""

from __future__ import annotations

from enum import IntEnum, auto
from functools import cache
from typing import Final

from msgspec import Struct

from shared.smtp.reply import Reply


class State(IntEnum):
    """The state of a session."""

    # State is an IntEnum, because the hash function of an Enum is slow Python code.

    BANNER = auto()  # The greeting has not been sent yet.
    GREETED = auto()  # EHLO has not been received yet.
    READY = auto()
    MAIL = auto()  # A sender has been accepted, but no recipient yet.
    RCPT = auto()  # At least one recipient has been accepted.
    CONTENT = auto()  # The reply 354 has been sent.
    DESYNCED = auto()  # Lines may be text of a message, so no more mail is accepted.
    AUTH = auto()  # Lines are responses of a login and not commands.
    TLS = auto()  # STARTTLS has been answered with 220, and the edge performs the handshake.
    CLOSED = auto()


# These names are faster, because access to a member through its class needs a call.
READY: Final = State.READY
MAIL: Final = State.MAIL
RCPT: Final = State.RCPT
CONTENT: Final = State.CONTENT
AUTH: Final = State.AUTH
TLS: Final = State.TLS
CLOSED: Final = State.CLOSED

# In the states in UNREAD, input is not read as commands. In the states in MUTE, the transport is
# not read.
UNREAD: Final = frozenset({State.BANNER, TLS, CLOSED})
MUTE: Final = frozenset({TLS, CLOSED})


class Access(IntEnum):
    """The state of a session with regard to AUTH."""

    NO_AUTH = auto()  # No mechanism is configured.
    BEFORE_TLS = auto()  # Passwords are not accepted in plain text.
    BEFORE_LOGIN = auto()
    LOGGED_IN = auto()


class Order(Struct, frozen=True):
    """The allowed states for each verb, and the refusals for pairs of verb and state.

    `takes_mail` is True if MAIL is allowed in the state READY.
    """

    allowed: dict[str, frozenset[State]]
    refused: dict[tuple[str, State], Reply]
    takes_mail: bool


_MAILING: Final = frozenset({State.GREETED, State.READY, State.MAIL, State.RCPT})
# The states for commands that do no harm, even if the lines are text that somebody else wrote.
_ANY: Final = _MAILING | {State.DESYNCED}
_HELLO_FIRST: Final = Reply(503, "5.5.1", "Say EHLO first")
_NESTED: Final = Reply(503, "5.5.1", "A transaction is open already")
_NO_SENDER: Final = Reply(503, "5.5.1", "Give MAIL first")
_NO_RECIPIENT: Final = Reply(554, "5.5.1", "No valid recipients")
_SPOILT: Final = Reply(421, "4.7.0", "Content came where a command was due; connect again")

# The states in which a verb is allowed.
ALLOWED: Final[dict[str, frozenset[State]]] = {
    "EHLO": _MAILING,
    "HELO": _MAILING,
    "MAIL": frozenset({State.READY}),
    "RCPT": frozenset({State.MAIL, State.RCPT}),
    "DATA": frozenset({State.RCPT}),
    "STARTTLS": frozenset({State.READY}),
    "AUTH": frozenset({State.READY}),
    "RSET": _ANY,
    "NOOP": _ANY,
    "VRFY": _ANY,
    "HELP": _ANY,
    "QUIT": _ANY,
}

# The refusals for pairs of verb and state that are not in ALLOWED. A 421 ends the session.
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
    ("AUTH", State.GREETED): _HELLO_FIRST,
    ("AUTH", State.MAIL): _NESTED,
    ("AUTH", State.RCPT): _NESTED,
    **{(verb, State.DESYNCED): _SPOILT for verb, states in ALLOWED.items() if states != _ANY},
}

_NO_LOGIN_NOW: Final = {
    Access.BEFORE_TLS: Reply(538, "5.7.11", "Encryption required: say STARTTLS first"),
    Access.LOGGED_IN: Reply(503, "5.5.1", "You are logged in already"),
}
_LOGIN_FIRST: Final = Reply(530, "5.7.0", "Authentication required")


@cache
def order_of(access: Access, requires_login: bool) -> Order:
    """Return the order of commands. If `requires_login` is True, MAIL is refused before the
    login."""
    allowed, refused = dict(ALLOWED), dict(REFUSED)
    if access is Access.NO_AUTH:
        del allowed["AUTH"]
    elif access in _NO_LOGIN_NOW:
        allowed["AUTH"] = frozenset()
        refused["AUTH", State.READY] = _NO_LOGIN_NOW[access]
    if requires_login and access is not Access.LOGGED_IN:
        allowed["MAIL"] = frozenset()
        refused["MAIL", State.READY] = _LOGIN_FIRST
    return Order(allowed, refused, READY in allowed["MAIL"])
