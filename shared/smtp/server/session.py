"""The server side of a session, without I/O. It parses commands to events, and encodes replies.

First, call `greet()`. After each read, call `receive(data)`, and then `next_event()` until it
returns None. Each event must be answered with `answer(reply)`, at once or later. The next event
follows only after the answer. ScramStart may be answered with `answer_scram(offer)`. Ended has no
answer. After the events, write the bytes that `take_output()` returns.

This module owns the state and its changes, and the replies to commands that do not concern the
policy. The buffers, the error count and the end of a session are in dialog.py, and logins are in
auth.py. The policy decides which mail is accepted, and the edge owns the time limits. Only
CRLF.CRLF ends a message. The session ends after a command with a LF without CR, plain text after
STARTTLS, or data before the greeting. If further lines may be text of a message instead of
commands, the session accepts no more mail (State.DESYNCED). For any input, the content limit and
MAX_UNREAD_BYTES limit the memory. The RFCs are 5321, 2920, 1870, 6152, 3207, 2034 and 6531.
"""

from __future__ import annotations

from typing import Final

from shared.smtp import commands
from shared.smtp.buffer import NoLine
from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import (
    Content,
    Data,
    Hello,
    Login,
    LoginEvent,
    Mail,
    Recipient,
    ScramFinish,
    ScramStart,
    ServerEvent,
    StartTls,
)
from shared.smtp.extensions import encode_extensions
from shared.smtp.grammar import MAX_COMMAND_BYTES, CommandFault, parse_command
from shared.smtp.reply import Reply
from shared.smtp.server import refusals, states
from shared.smtp.server.auth import CONTINUE, MAX_RESPONSE_BYTES, Authentication
from shared.smtp.server.content import ContentReader, UnterminatedMessage
from shared.smtp.server.dialog import Dialog, ServerOptions
from shared.smtp.server.refusals import IDLE_COMMANDS
from shared.smtp.server.sasl import ScramOffer
from shared.smtp.server.states import UNREAD, State, order_of

_INCOMPLETE: Final = NoLine.INCOMPLETE
_NO_MAIL: Final = Mail("", 0, is_eight_bit=False, is_smtputf8=False)


class ServerSession(Dialog):
    """The SMTP session of one connection."""

    __slots__ = (
        "_auth",
        "_incoming",
        "_is_data_refused",
        "_mail",
        "_offered",
        "_order",
        "_recipients",
        "is_secure",
    )

    def __init__(self, options: ServerOptions) -> None:
        super().__init__(options)
        self._mail = _NO_MAIL
        self._recipients: list[str] = []
        self._incoming = ContentReader(Data("", ()), options)
        self._is_data_refused = False  # True if the last command was DATA and was refused.
        self.is_secure = options.is_secure  # True if the session uses TLS.
        self._auth = Authentication(options.auth_mechanisms, options.nonce)
        self._reorder()

    @property
    def authenticated_as(self) -> str:
        """Return the name of the logged-in user. Return "" if no user is logged in."""
        return self._auth.username

    def greet(self, reply: Reply) -> None:
        """Send the greeting. A greeting that is not positive ends the session."""
        if self._state is not State.BANNER:
            raise LocalProtocolError("the greeting was sent before")
        if len(self._buffer):
            self._end(refusals.EARLY, "it sent data before the greeting")
        elif reply.is_positive:
            self._put(Reply(reply.code, "", reply.text))
            self._state = State.GREETED
        else:
            self._end(reply, "refused at the greeting")

    def answer(self, reply: Reply) -> None:
        """Answer the event that waits. Raises LocalProtocolError if this answer is not allowed."""
        event, self._pending = self._pending, None
        if reply.code == 421:
            self._end(reply, "the policy ended it")
            return
        # Use type(), because isinstance() takes five times as long for a Struct.
        if type(event) is Recipient:
            if reply.is_positive:
                self._recipients.append(event.address)
                self._state = states.RCPT
            elif reply.code >= 500 and self._options.counts_refusals:
                self._refuse(reply)
                return
        elif type(event) is Mail:
            if reply.is_positive:
                self._mail, self._state = event, states.MAIL
        elif type(event) is Data:
            self._answer_data(event, reply)
        elif type(event) is Content:
            self._answer_content(event, reply)
        else:
            self._answer_other(event, reply)
            return
        self._put(reply)

    def _answer_other(self, event: ServerEvent | None, reply: Reply) -> None:
        match event:
            case Hello():
                self._answer_hello(event, reply)
            case StartTls():
                if reply.is_positive:
                    self._state = states.TLS
                self._put(reply)
            case Login() | ScramStart() | ScramFinish():
                self._answer_login(event, reply)
            case _:
                raise LocalProtocolError("no event waits for an answer")

    def answer_scram(self, offer: ScramOffer) -> None:
        """Answer ScramStart. Raises LocalProtocolError if no ScramStart waits for an answer."""
        if not isinstance(self._pending, ScramStart):
            raise LocalProtocolError("no ScramStart waits for an answer")
        self._pending = self._advance(self._auth.offer(offer))

    def tls_started(self) -> None:
        """Continue after the TLS handshake. Discard all earlier state (RFC 3207, 4.2)."""
        if self._state is not states.TLS or len(self._buffer):
            raise LocalProtocolError("TLS starts after 220 and with an empty buffer")
        self.is_secure = True
        self._auth.forget()
        self._reorder()
        self._reset(State.GREETED)

    # -- inside

    def _reset(self, state: State) -> None:
        self._mail, self._state = _NO_MAIL, state
        self._recipients = []

    def _reorder(self) -> None:
        """Update the extensions and allowed commands after TLS or a login."""
        access = self._auth.access(self.is_secure)
        self._order = order_of(access, self._options.requires_auth)
        self._offered = self._options.offered(self.is_secure)

    def _read(self) -> bool:
        """Process one line or the content of a message. Return False if neither is complete yet."""
        state = self._state
        if state is states.CONTENT:
            return self._read_content()
        if state in UNREAD:
            return False
        is_login = state is states.AUTH
        line = self._buffer.take_line(MAX_RESPONSE_BYTES if is_login else MAX_COMMAND_BYTES)
        if line is _INCOMPLETE:
            return False
        if not isinstance(line, bytes):
            self._refuse_line(line, is_login)
        elif is_login:
            self._pending = self._advance(self._auth.receive(line))
        else:
            self._pending = self._plain(line) or self._command(line)
        return True

    def _plain(self, line: bytes) -> ServerEvent | None:
        if not self._order.takes_mail or self._is_data_refused:
            return None
        most = self._options.max_recipients
        return commands.read_plain(line, self._state, self._mail, self._recipients, most)

    def _answer_data(self, event: Data, reply: Reply) -> None:
        if reply.code == 354:
            self._state, self._incoming = states.CONTENT, ContentReader(event, self._options)
        elif reply.code >= 400:
            self._is_data_refused = True
        else:
            raise LocalProtocolError("DATA is answered with 354 or a refusal")

    def _refuse_line(self, fault: NoLine, is_login: bool) -> None:
        if self._is_data_refused:
            self._reset(State.DESYNCED)
        if is_login:
            self._auth.forget()
            self._state = states.READY
        reply = (refusals.LOGIN_LINE if is_login else refusals.LINE)[fault]
        if fault is NoLine.TOO_LONG:
            # It is unknown whether the following bytes are commands or the rest of the long line.
            self._put(reply)
            reply = refusals.LINE_ENDS_ALL
        self._end(reply, f"a line is {fault.value}")

    def _command(self, line: bytes) -> ServerEvent | None:
        command = parse_command(line)
        was_data_refused, self._is_data_refused = self._is_data_refused, False
        verb = "" if isinstance(command, CommandFault) else command.verb
        allowed = self._order.allowed.get(verb)
        if isinstance(command, CommandFault) or allowed is None:
            if was_data_refused or verb == "BDAT":
                # The client has sent the content although DATA was refused.
                self._reset(State.DESYNCED)
            fault = command if isinstance(command, CommandFault) else CommandFault.VERB
            self._refuse(commands.UNKNOWN.get(verb, refusals.SYNTAX[fault]))
        elif self._state not in allowed:
            self._is_data_refused = verb == "DATA"
            # A DATA that was pipelined after a refused RCPT is not counted as a separate error.
            self.refused -= self._is_data_refused
            self._refuse(self._order.refused[verb, self._state])
        elif verb in IDLE_COMMANDS and not self._limits.count_idle():
            self._refuse(refusals.TOO_IDLE)
        else:
            return self._carry_out(verb, command.argument)
        return None

    def _carry_out(self, verb: str, argument: str) -> ServerEvent | None:
        if verb == "AUTH":
            return self._advance(self._auth.begin(argument))
        most = self._options.max_recipients
        found = commands.read(verb, argument, self._offered, self._mail, self._recipients, most)
        if isinstance(found, Reply):
            self._is_data_refused = verb == "DATA"
            self._refuse(found)
        elif isinstance(found, StartTls) and len(self._buffer):
            # If the session continued, the buffered commands would be executed as if they had been
            # sent over TLS (CVE-2011-0411).
            self._end(refusals.INJECTED, "it sent commands after STARTTLS in plain text")
        elif found is not None:
            return found
        elif verb == "QUIT":
            self._end(commands.BYE, "it sent QUIT")
        else:
            if verb == "RSET" and self._state in (states.MAIL, states.RCPT):
                self._reset(states.READY)
            self._put(commands.ANSWERED[verb])
        return None

    def _answer_hello(self, event: Hello, reply: Reply) -> None:
        if reply.is_positive:
            lines = encode_extensions(self._offered) if event.is_extended else ()
            reply = Reply(250, "", "\n".join([self._options.host, *lines]))
            self._reset(states.READY)
        self._put(reply)

    def _advance(self, found: Reply | LoginEvent) -> LoginEvent | None:
        """Continue a login, or refuse it."""
        self._state = states.AUTH
        if not isinstance(found, Reply):
            return found
        if found.code == CONTINUE:
            self._put(found)
        else:
            self._state = states.READY
            self._refuse(found)
        return None

    def _answer_login(self, event: LoginEvent, reply: Reply) -> None:
        self._state = states.READY
        if self._auth.settle(event, reply):
            self._reorder()
            self._put(reply)
        else:
            self._refuse(reply)

    def _answer_content(self, event: Content, reply: Reply) -> None:
        if reply.is_positive and event.refusal is not None:
            raise LocalProtocolError("content that must be refused was accepted")
        self._limits.renew(reply.is_positive)
        self._reset(State.DESYNCED if self._incoming.is_doubtful else states.READY)

    def _read_content(self) -> bool:
        found = self._incoming.take(self._buffer)
        if isinstance(found, UnterminatedMessage):
            self._end(refusals.TOO_LARGE, "its message has no end")
        else:
            self._pending = found
        return found is not None
