"""One connection of the sink: ServerSession on an asyncio transport.

Owns: reading and writing bytes, delays, TLS. Does not own: the dialog
(shared/smtp/server/session.py), the answers (behaviour.py). Guarantees: the journal line of an
answer is written before the answer is sent.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Protocol, cast

from msgspec import Struct

from local.sink.behaviour import Behaviour, Decision, Verdict, delay_s, dot_delay_s, judge_recipient
from local.sink.journal import Answered, Journal, message_id_of
from local.sink.reports import Returning, report_for
from shared.smtp.events import (
    Content,
    Data,
    Ended,
    Hello,
    Login,
    Mail,
    Recipient,
    ScramFinish,
    ScramStart,
    ServerEvent,
    StartTls,
)
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.session import ServerSession
from shared.smtp.server.states import State

_OK: Final = Reply(250, "2.0.0", "Ok")
_SENDER_OK: Final = Reply(250, "2.1.0", "Ok")
_RECIPIENT_OK: Final = Reply(250, "2.1.5", "Ok")
_GO: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
_TLS: Final = Reply(220, "2.0.0", "Ready to start TLS")
_NO_LOGIN: Final = Reply(535, "5.7.8", "Logins are not accepted here")
_IDLE: Final = Reply(421, "4.4.2", "Idle for too long")
_HANDSHAKE_S: Final = 30.0


class Policy(Struct, frozen=True):
    """The state that all connections share. `behaviour` is used only if `is_smart` is set."""

    options: ServerOptions
    behaviour: Behaviour
    journal: Journal
    is_smart: bool = True
    idle_timeout_s: float = 0.0  # 0: no limit
    tls: ssl.SSLContext | None = None
    returning: Returning | None = None  # None if the sink sends no reports.


class Connections(Protocol):
    """The set of open connections. A sink that stops uses it to close them."""

    def add(self, connection: SinkConnection, /) -> None:
        """Add an opened connection."""
        ...

    def discard(self, connection: SinkConnection, /) -> None:
        """Remove a closed connection."""
        ...


class SinkConnection(asyncio.Protocol):
    """The connection of one client."""

    __slots__ = ("_connections", "_delay_s", "_idle", "_policy", "_session", "_tls", "_transport")

    def __init__(self, policy: Policy, connections: Connections) -> None:
        self._policy = policy
        self._session = ServerSession(policy.options)
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._delay_s = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._tls: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        # The transport is a stream transport, but isinstance cannot check that, because uvloop's
        # transports have their own class.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._session.greet(Reply(220, "", f"{self._policy.options.host} ESMTP sink"))
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self._transport = None
        self._connections.discard(self)
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        """Process and answer received data."""
        self._session.receive(data)
        self._run()

    def close(self) -> None:
        """Close the connection at once. Answers that are already written are still sent."""
        if self._transport is not None:
            self._transport.close()

    # -- inside

    def _run(self) -> None:
        session = self._session
        while (event := session.next_event()) is not None:
            if isinstance(event, Ended):
                self._write()
                self.close()
                return
            reply = self._decide(event)
            if reply is None:
                self._policy.journal.flush()
                if self._transport is not None:
                    self._transport.abort()
                return
            late_s = self._late_s(event)
            if late_s:
                self._answer_late(reply, late_s)
                return
            session.answer(reply)
            if session.state is State.TLS:
                self._write()
                self._tls = asyncio.get_running_loop().create_task(self._start_tls())
                return
        self._write()

    def _write(self) -> None:
        self._policy.journal.flush()
        output = self._session.take_output()
        if output and self._transport is not None:
            self._transport.write(output)
        if self._policy.idle_timeout_s:
            self._restart_idle()

    def _decide(self, event: ServerEvent) -> Reply | None:
        match event:
            case Content():
                return self._judge_content(event)
            case Recipient():
                return self._judge_recipient(event)
            case Mail():
                self._delay_s = 0.0
                return _SENDER_OK
            case Data():
                return _GO
            case StartTls():
                return _TLS
            case Login() | ScramStart() | ScramFinish():
                return _NO_LOGIN
            case Hello() | Ended():
                return _OK

    def _late_s(self, event: ServerEvent) -> float:
        match event:
            case Hello() | Mail():
                return 0.0
            case Content() if self._policy.is_smart:
                return self._delay_s + max(map(dot_delay_s, event.recipients), default=0.0)
            case _:
                return self._delay_s

    def _judge_recipient(self, event: Recipient) -> Reply:
        if not self._policy.is_smart:
            return _RECIPIENT_OK
        self._delay_s = max(self._delay_s, delay_s(event.address))
        refusal = judge_recipient(event.address)
        if refusal is None or refusal.reply is None:
            return _RECIPIENT_OK
        answered = Answered(refusal.verdict, str(refusal.reply), "rcpt")
        self._policy.journal.add(answered, event.sender, event.address)
        return refusal.reply

    def _judge_content(self, event: Content) -> Reply | None:
        if event.refusal is not None:
            self._note(event, Decision(_refused(event.refusal), event.refusal), "")
            return event.refusal
        policy = self._policy
        message_id = message_id_of(event.content) if policy.journal.is_kept else ""
        if policy.is_smart:
            decision = policy.behaviour.judge_content(event.recipients, message_id)
        else:
            decision = policy.behaviour.accept()
        if policy.journal.is_kept:
            self._note(event, decision, message_id)
        if policy.is_smart and decision.verdict is Verdict.ACCEPTED:
            self._report(event)
        return decision.reply

    def _report(self, event: Content) -> None:
        for recipient in event.recipients if self._policy.returning is not None else ():
            report = report_for(recipient)
            if report is not None and self._policy.returning is not None:
                self._policy.returning.add(report, event.sender, recipient, event.content)

    def _note(self, event: Content, decision: Decision, message_id: str) -> None:
        text = "" if decision.reply is None else str(decision.reply)
        answered = Answered(decision.verdict, text, "data", message_id, event.size_bytes)
        for recipient in event.recipients:
            self._policy.journal.add(answered, event.sender, recipient)

    def _answer_late(self, reply: Reply, late_s: float) -> None:
        # While the answer is delayed, the journal line may stay unwritten. The line is always
        # flushed before the answer is sent.
        def answer() -> None:
            if self._transport is not None:
                self._session.answer(reply)
                self._transport.resume_reading()
                self._run()

        if self._transport is not None:
            self._write()
            self._transport.pause_reading()
        asyncio.get_running_loop().call_later(late_s, answer)

    def _restart_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(self._policy.idle_timeout_s, self._end_idle)

    def _end_idle(self) -> None:
        if self._transport is not None and self._session.wants_data:
            self._transport.write(f"{_IDLE}\r\n".encode())
            self._transport.close()

    async def _start_tls(self) -> None:
        transport, context = self._transport, self._policy.tls
        if transport is None or context is None:
            return
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=_HANDSHAKE_S
            )
        except (OSError, ssl.SSLError):
            transport.close()
            return
        self._transport = secured
        self._session.tls_started()


def _refused(reply: Reply) -> Verdict:
    return Verdict.BOUNCED if reply.is_permanent else Verdict.DEFERRED
