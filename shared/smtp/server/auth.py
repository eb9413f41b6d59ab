"""A server's AUTH (RFC 4954): the command, its challenges and responses, who is logged in.

Owns: the base64 lines, the replies to what is no response, one exchange at a time. Does not
own: the mechanisms' messages (sasl.py), when AUTH may be given (states.py), who may come in
(the policy). Promises: never raises for what a peer sends.
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

# What RFC 4954, 4 calls sufficient; it counts the CRLF.
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
# 501 is for what is no base64 alone; a login that fails is 535 (RFC 4954, 4 and 6).
_FAULTS: Final = {
    **{fault: Reply(535, "5.7.8", fault) for fault in SaslFault},
    SaslFault.BASE64: Reply(501, "5.5.2", SaslFault.BASE64),
}


def no_nonce() -> str:
    """Stands where no source of nonces was given."""
    raise LocalProtocolError("SCRAM needs a source of nonces")


def judge_mechanisms(mechanisms: tuple[str, ...], nonce: Callable[[], str]) -> None:
    """Raise LocalProtocolError where these cannot be offered."""
    if not set(mechanisms) <= MECHANISMS.keys():
        raise LocalProtocolError(f"the mechanisms known are {', '.join(MECHANISMS)}")
    if _SCRAM in mechanisms and nonce is no_nonce:
        no_nonce()


class Authentication:
    """Who is logged in on one connection, and the exchange that is open.

    What its methods return is a reply for the peer, where 334 goes on and any other ends the
    exchange, or an event for the policy.
    """

    __slots__ = ("_exchange", "_mechanisms", "_nonce", "username")

    def __init__(self, mechanisms: tuple[str, ...], nonce: Callable[[], str]) -> None:
        self._mechanisms = mechanisms
        self._nonce = nonce
        self._exchange: Mechanism | None = None
        self.username = ""

    def access(self, is_secure: bool) -> Access:
        """How the session stands with AUTH."""
        if self.username:
            return Access.LOGGED_IN
        if not self._mechanisms:
            return Access.NO_AUTH
        return Access.BEFORE_LOGIN if is_secure else Access.BEFORE_TLS

    def begin(self, argument: str) -> Reply | LoginEvent:
        """AUTH mechanism [initial response]; spaces around and between count as one."""
        name, _, initial = argument.strip(" ").partition(" ")
        initial = initial.lstrip(" ")
        if not name:
            return _WHICH
        # Letters outside ASCII have capitals inside it ("PLA\u0131N").
        if not name.isascii() or name.upper() not in self._mechanisms:
            return _UNKNOWN
        self._exchange = MECHANISMS[name.upper()](self._nonce)
        if not initial:
            return self._told(self._exchange.prompt())
        return self._receive(b"" if initial == "=" else initial.encode())

    def receive(self, line: bytes) -> Reply | LoginEvent:
        """A line of the exchange, without its CRLF; spaces at its end are ignored."""
        line = line.rstrip(b" ")
        return self._end(_CANCELLED) if line == b"*" else self._receive(line)

    def offer(self, offer: ScramOffer) -> Reply | LoginEvent:
        """The salt was found. Raises LocalProtocolError."""
        if not isinstance(self._exchange, Scram):
            raise LocalProtocolError("no SCRAM exchange waits for its salt")
        return self._told(self._exchange.offer(offer))

    def settle(self, event: LoginEvent, reply: Reply) -> bool:
        """End the exchange; whether the reply lets in. Raises LocalProtocolError."""
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
        """TLS begins: nobody is logged in."""
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
