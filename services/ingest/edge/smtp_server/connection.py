"""One connection of an SMTP server: a ServerSession on an asyncio transport.

This module owns the loop over the events of the dialog, the time limits, STARTTLS, and the count of
refused commands. It does not own the protocol (shared/smtp), the answers (the policy), the buffers
and their limits (transport.py), and the steps before the connection is served (listener.py).

If a connection breaks before the final dot, no message is stored. If a connection breaks after the
final dot, the message is processed, although the client got no reply and will submit the message
again. Reading is paused while an answer is pending, and while the peer does not read its replies,
so a peer cannot cause a growing amount of work. Each complete command extends the deadline, but a
single byte does not. If a peer does not read the last reply, its connection is closed after
CLOSE_S.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, cast

from msgspec.structs import replace

from services.ingest.core.smtp_server import replies
from services.ingest.core.smtp_server.connection_limiter import ConnectionSlot, LimitExceeded
from services.ingest.edge.smtp_server.context import NewPolicy, ServerContext
from services.ingest.edge.smtp_server.listener import HANDSHAKE
from services.ingest.edge.smtp_server.transport import SmtpTransport
from shared.smtp.events import Ended, Hello, ServerEvent, StartTls
from shared.smtp.reply import Reply
from shared.smtp.server.session import ServerSession
from shared.smtp.server.states import CONTENT, TLS

log = logging.getLogger(__name__)

# The time in which a peer must read the last reply. If the idle time-out is shorter, the idle
# time-out applies.
CLOSE_S: Final = 10.0


class SmtpConnection(asyncio.Protocol):
    """The connection of one peer. Implements policy.Conversation and context.Connection."""

    def __init__(
        self, server: ServerContext, slot: ConnectionSlot, new_policy: NewPolicy, is_implicit: bool
    ) -> None:
        """`is_implicit` is True if TLS began before the greeting."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.slot = slot
        self._needs_login = server.options.requires_auth
        if not self._needs_login:
            slot.mark_identified()
        options = replace(server.options, is_secure=True) if is_implicit else server.options
        self.session = ServerSession(options)
        self._transport = SmtpTransport(self.session, self._run)
        self._policy = new_policy(self)
        self._task: asyncio.Task[None] | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._deadline = self._loop.time() + server.limits.login_timeout_s

    @property
    def is_storing(self) -> bool:
        """Return True if a whole message was received and its reply is pending."""
        return self._policy.is_storing

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting after a delay, because a peer that sends data before the greeting is
        not a mail client.

        See RFC 5321, 3.1.
        """
        self._transport.attach(cast(asyncio.Transport, transport))
        # From now on, an eviction calls _evicted(). Before this point, also during the handshake of
        # implicit TLS, an eviction cancels the listener's task.
        self.slot.evict = self._evicted
        self._server.connections.add(self)
        if self._server.connections.is_draining:
            self.end()
            return
        self._greeting = self._loop.call_later(self._server.limits.greeting_delay_s, self._greet)

    def data_received(self, data: bytes) -> None:
        self._transport.receive(data)
        if self.session.state is CONTENT and not self.is_storing:
            refusal = self._policy.judge_growth(self.session.unread_bytes)
            if refusal is not None:
                self.end(refusal)

    def pause_writing(self) -> None:
        self._transport.pause_writing()

    def resume_writing(self) -> None:
        self._transport.resume_writing()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport.detach()
        self._policy.connection_lost()
        if self._greeting is not None:
            self._greeting.cancel()
        if self._task is not None:
            self._task.cancel()
        self.slot.release()
        self._server.connections.remove(self)

    # -- the server's side

    def sweep(self, now: float) -> None:
        """Close the connection if its deadline has passed."""
        if self._deadline > now:
            return
        if not self._transport.is_open:
            self._transport.abort()
        elif not self.is_storing and self._task is None:
            self.end(self._timeout_reply())

    def end(self, reply: Reply = replies.CLOSING) -> None:
        """Send a last reply and close the connection. During a TLS handshake, the connection is
        closed without a reply."""
        if self._transport.is_open:
            self._set_last_deadline()
            self._transport.close(reply)

    # -- the policy's side

    def answer(self, reply: Reply) -> None:
        """Send the reply to the pending event, and process the bytes that have arrived since the
        event."""
        if not self._transport.is_open:
            return
        self.session.answer(reply)
        if self._server.connections.is_draining:
            self._write()
            self.end()
            return
        self._transport.resume()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that is cancelled when the connection ends."""
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("SMTP server: a connection crashed", exc_info=error)
            self.end(replies.CRASHED)

    # -- the dialog

    def _evicted(self) -> None:
        """Close this connection, because the peer has not logged in and a newer connection needs
        the slot."""
        self._server.turned_away.add(1, LimitExceeded.BEFORE_LOGIN)
        if self._transport.is_open:
            self.end(replies.MANY_BEFORE_LOGIN)
        else:
            self._transport.abort()

    def _greet(self) -> None:
        if self._transport.is_open:
            self.session.greet(Reply(220, "", f"{self._server.options.host} ESMTP Sluice"))
            self._run()

    def _run(self) -> None:
        session = self.session
        while (event := session.next_event()) is not None:
            # The check of type() is used, because isinstance() takes five times as long for a
            # Struct.
            kind = type(event)
            if kind is Ended:
                self._write()
                self._set_last_deadline()
                self._transport.close()
                return
            reply = self._judge(kind, event)
            if reply is None:
                continue  # the next event follows after the policy's answer
            session.answer(reply)
            if session.state is TLS:
                self._write()
                self._begin_tls()
                return
        self._write()

    def _judge(self, kind: type[ServerEvent], event: ServerEvent) -> Reply | None:
        if kind is Hello:
            return replies.OK
        if kind is StartTls:
            return replies.TLS
        reply = self._policy.judge(event)
        if reply is replies.GO:
            self._deadline = self._loop.time() + self._server.limits.data_timeout_s
        return reply

    def _write(self) -> None:
        # If there is output, a command or a message was complete, so the deadline is extended. The
        # deadline for the login is not extended.
        session = self.session
        has_written = self._transport.write()
        if has_written and self._is_identified() and session.state is not CONTENT:
            self._deadline = self._loop.time() + self._server.limits.idle_timeout_s
        if session.refused != self.slot.errors:
            self._count_errors(session.refused)

    def _count_errors(self, total: int) -> None:
        exceeded = self.slot.count_errors(total, self._loop.time())
        if exceeded is not None:
            self._server.turned_away.add(1, exceeded)
            self.end(replies.LIMIT_REPLIES[exceeded])

    def _set_last_deadline(self) -> None:
        self._deadline = self._loop.time() + min(CLOSE_S, self._server.limits.idle_timeout_s)

    def _timeout_reply(self) -> Reply:
        if self.session.state is CONTENT:
            return replies.SLOW
        return replies.IDLE if self._is_identified() else replies.NO_LOGIN

    def _is_identified(self) -> bool:
        return not self._needs_login or bool(self.session.authenticated_as)

    # -- TLS

    def _begin_tls(self) -> None:
        if self._transport.try_begin_tls():
            self.spawn(self._start_tls())
        else:
            self._set_last_deadline()

    async def _start_tls(self) -> None:
        context, timeout_s = self._server.tls(), self._server.limits.handshake_timeout_s
        if context is None:
            return
        if not await self._transport.secure(self, context, timeout_s):
            self._server.turned_away.add(1, HANDSHAKE)
