"""The server side of AUTH (RFC 4954): parses the command and the responses to challenges.

This module owns the base64 lines, the replies to malformed responses, the open exchange, and the
logged-in user. The messages of the mechanisms are in sasl.py, and the states in which AUTH is
allowed are in states.py. The policy decides whether a user may log in. No data from a peer raises
an exception.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Final

from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import LoginEvent, ScramFinish, ScramStart
from shared.smtp.reply import Reply
from shared.smtp.server.sasl import (
    Challenge,
    LoginExchange,
    Mechanism,
    Plain,
    SaslFault,
    Scram,
    ScramOffer,
    Step,
    decode_base64,
)
from shared.smtp.server.states import Access

# The longest line of an exchange, including the CRLF. This limit is sufficient (RFC 4954, 4).
MAX_RESPONSE_BYTES: Final = 12_288
CONTINUE: Final = 334
_LET_IN: Final = 235

_SCRAM: Final = "SCRAM-SHA-256"
MECHANISMS: Final[dict[str, Callable[[Callable[[], str]], Mechanism]]] = {
    _SCRAM: lambda nonce: Scram(nonce()),
    "PLAIN": lambda nonce: Plain(),
    "LOGIN": lambda nonce: LoginExchange(),
}

_WHICH: Final = Reply(501, "5.5.4", "Say how: AUTH mechanism")
_UNKNOWN: Final = Reply(504, "5.5.4", "Mechanism not offered")
_CANCELLED: Final = Reply(501, "5.7.0", "Authentication cancelled")
# 501 is only for malformed base64, and 535 is for a failed login (RFC 4954, 4 and 6).
_FAULTS: Final = {
    **{fault: Reply(535, "5.7.8", fault) for fault in SaslFault},
    SaslFault.BASE64: Reply(501, "5.5.2", SaslFault.BASE64),
}


def no_nonce() -> str:
    """Raise LocalProtocolError. This function is used if no source of nonces is configured."""
    raise LocalProtocolError("SCRAM needs a source of nonces")


def judge_mechanisms(mechanisms: tuple[str, ...], nonce: Callable[[], str]) -> None:
    """Raise LocalProtocolError if one of these mechanisms cannot be offered."""
    if not set(mechanisms) <= MECHANISMS.keys():
        raise LocalProtocolError(f"the mechanisms known are {', '.join(MECHANISMS)}")
    if _SCRAM in mechanisms and nonce is no_nonce:
        no_nonce()


class Authentication:
    """The logged-in user of one connection, and the open exchange.

    The methods return an event for the policy, or a reply for the peer. The reply 334 continues the
    exchange, and any other reply ends it.
    """

    __slots__ = ("_exchange", "_mechanisms", "_nonce", "username")

    def __init__(self, mechanisms: tuple[str, ...], nonce: Callable[[], str]) -> None:
        self._mechanisms = mechanisms
        self._nonce = nonce
        self._exchange: Mechanism | None = None
        self.username = ""

    def access(self, is_secure: bool) -> Access:
        """Return the state of the session with regard to AUTH."""
        if self.username:
            return Access.LOGGED_IN
        if not self._mechanisms:
            return Access.NO_AUTH
        return Access.BEFORE_LOGIN if is_secure else Access.BEFORE_TLS

    def begin(self, argument: str) -> Reply | LoginEvent:
        """Parse `AUTH mechanism [initial response]`. Several spaces are treated as one space."""
        name, _, initial = argument.strip(" ").partition(" ")
        initial = initial.lstrip(" ")
        if not name:
            return _WHICH
        # Only ASCII is accepted, because some other characters become ASCII in upper case
        # ("PLA\u0131N").
        if not name.isascii() or name.upper() not in self._mechanisms:
            return _UNKNOWN
        self._exchange = MECHANISMS[name.upper()](self._nonce)
        if not initial:
            return self._told(self._exchange.prompt())
        return self._receive(b"" if initial == "=" else initial.encode())

    def receive(self, line: bytes) -> Reply | LoginEvent:
        """Process a line of the exchange, without its CRLF. Trailing spaces are ignored."""
        line = line.rstrip(b" ")
        return self._end(_CANCELLED) if line == b"*" else self._receive(line)

    def offer(self, offer: ScramOffer) -> Reply | LoginEvent:
        """Continue SCRAM with the salt of the name. Raises LocalProtocolError."""
        if not isinstance(self._exchange, Scram):
            raise LocalProtocolError("no SCRAM exchange waits for its salt")
        return self._told(self._exchange.offer(offer))

    def settle(self, event: LoginEvent, reply: Reply) -> bool:
        """End the exchange. Return True if the reply is positive. Raises LocalProtocolError."""
        self._end(reply)
        if reply.code >= 400:
            return False
        if isinstance(event, ScramFinish) and event.key_index is None:
            raise LocalProtocolError("a wrong proof was answered with a positive reply")
        if isinstance(event, ScramStart) or reply.code != _LET_IN:
            raise LocalProtocolError("a login is answered with 235 or a refusal")
        self.username = event.username
        return True

    def forget(self) -> None:
        """Forget the exchange and the login, because TLS begins."""
        self._exchange, self.username = None, ""

    # -- inside

    def _receive(self, line: bytes) -> Reply | LoginEvent:
        exchange = self._exchange
        response = decode_base64(line)
        if exchange is None or response is None:
            return self._end(_FAULTS[SaslFault.BASE64])
        return self._told(exchange.receive(response))

    def _told(self, step: Step) -> Reply | LoginEvent:
        match step:
            case Challenge(data=data):
                return Reply(CONTINUE, "", b64encode(data).decode())
            case SaslFault():
                return self._end(_FAULTS[step])
            case _:
                return step

    def _end(self, reply: Reply) -> Reply:
        self._exchange = None
        return reply
