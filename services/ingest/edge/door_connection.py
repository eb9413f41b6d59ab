"""One connection of the front door: ServerSession on an asyncio transport.

Owns: bytes, time limits, TLS, which client is logged in. Does not own: the dialog
(shared/smtp), what may be sent (core/door_policy.py), passwords (logins.py), Kafka (outbox.py).

When it fails: a connection that breaks before the final dot leaves nothing; one that breaks
after it leaves a message that goes on, whose client has no answer and hands it in again.
Reading is paused while an answer is awaited, so a peer cannot make work pile up.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from msgspec.structs import replace

from services.ingest.core import door_policy, replies
from services.ingest.core.access import may_come_from, plain_address
from services.ingest.core.door_policy import Arrival, Peer
from services.ingest.edge.door import Door
from services.ingest.edge.logins import Busy
from shared.registry.client import Client
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
from shared.smtp.reply import Reply, encode_reply
from shared.smtp.server import ServerSession
from shared.smtp.states import State
from shared.topics.records import Facts, MailEvent, Message

log = logging.getLogger(__name__)

_HANDSHAKE_S: Final = 30.0
# A failed login is answered no sooner, so that guessing takes time.
FAILURE_DELAY_S: Final = 1.0

Admit = Callable[["DoorConnection"], Reply | None]


class DoorConnection(asyncio.Protocol):
    """A client that is being served."""

    def __init__(self, door: Door, admit: Admit, is_implicit: bool) -> None:
        """`is_implicit`: TLS was begun before the greeting."""
        self._door = door
        self._admit = admit
        options = replace(door.options, is_secure=True) if is_implicit else door.options
        self._session = ServerSession(options)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._held = 0
        self.address = ""
        self.deadline = self._loop.time() + door.limits.idle_timeout_s
        # The answer to a whole message is awaited: the connection waits for us, not we for it.
        self.is_storing = False

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, a little later: who speaks before is no mail client (RFC 5321, 3.1)."""
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        self.address = plain_address(str(name[0])) if name else ""
        refusal = self._admit(self)
        if refusal is not None:
            self.end(refusal)
            return
        delay_s = self._door.limits.greeting_delay_s
        self._greeting = self._loop.call_later(delay_s, self._greet)

    def data_received(self, data: bytes) -> None:
        """Answer what has come."""
        if self._session.state is not State.CONTENT:
            self.deadline = self._loop.time() + self._door.limits.idle_timeout_s
        self._session.receive(data)
        self._run()

    def eof_received(self) -> bool:
        """The peer will say no more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._transport = None
        if not self.is_storing:
            self._release()
        if self._greeting is not None:
            self._greeting.cancel()
        if self._task is not None:
            self._task.cancel()
        self._door.connections.remove(self)

    # -- the door's side

    def sweep(self, now: float) -> None:
        """End the connection where it has been idle or slow for too long."""
        if self.deadline <= now and not self.is_storing and self._task is None:
            self.end(replies.SLOW if self._session.state is State.CONTENT else replies.IDLE)

    def end(self, reply: Reply = replies.CLOSING) -> None:
        """Say why, and close."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(encode_reply(reply))
            transport.close()

    def abort(self) -> None:
        """Close without a word."""
        if self._transport is not None:
            self._transport.abort()

    # -- inside

    def _greet(self) -> None:
        host = self._door.options.host
        self._session.greet(Reply(220, "", f"{host} ESMTP Sluice"))
        self._run()

    def _run(self) -> None:
        session = self._session
        while (event := session.next_event()) is not None:
            if isinstance(event, Ended):
                self._write()
                if self._transport is not None:
                    self._transport.close()
                return
            if isinstance(event, ScramStart) and not self._locked():
                client = self._door.client_of(event.username)
                session.answer_scram(self._door.logins.offer(event.username, client))
                continue
            reply = self._decide(event)
            if reply is None:
                self._write()
                self._wait()
                return
            self._answer(reply)
            if session.state is State.TLS:
                self._write()
                self._spawn(self._start_tls())
                return
        self._write()

    def _write(self) -> None:
        output = self._session.take_output()
        if output and self._transport is not None:
            self._transport.write(output)

    def _wait(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _answer_late(self, reply: Reply) -> None:
        """Answer the event that waits, and go on with what has come meanwhile."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._answer(reply)
        if self._door.connections.is_draining:
            self._write()
            self.end()
            return
        self.deadline = self._loop.time() + self._door.limits.idle_timeout_s
        transport.resume_reading()
        self._run()

    def _answer(self, reply: Reply) -> None:
        self._session.answer(reply)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("front door: a connection crashed", exc_info=error)
            self.end(Reply(421, "4.3.0", "Internal error"))

    def _decide(self, event: ServerEvent) -> Reply | None:
        """The answer; None where it comes later."""
        match event:
            case Mail():
                return self._judge_mail(event)
            case Recipient():
                refusal = door_policy.judge_recipient(event.address, event.taken)
                return refusal or replies.RECIPIENT_OK
            case Data():
                return self._judge_data()
            case Content():
                return self._judge_content(event)
            case Login():
                return self._check_password(event)
            case ScramStart():
                return replies.LOCKED
            case ScramFinish():
                return self._finish_scram(event)
            case StartTls():
                return replies.TLS
            case Hello() | Ended():
                return replies.OK

    # -- logging in

    def _locked(self) -> bool:
        return self._door.failures.is_locked(self.address, self._loop.time())

    def _check_password(self, event: Login) -> Reply | None:
        if self._locked():
            return replies.LOCKED
        self._spawn(self._log_in(event))
        return None

    async def _log_in(self, event: Login) -> None:
        client = self._door.client_of(event.username)
        try:
            is_right = await self._door.logins.is_right(event.username, client, event.password)
        except Busy:
            self._answer_late(replies.BUSY)
            return
        await self._logged_in(event.username, client if is_right else None)

    def _finish_scram(self, event: ScramFinish) -> Reply | None:
        client = self._door.client_of(event.username) if event.key_index is not None else None
        self._spawn(self._logged_in(event.username, client))
        return None

    async def _logged_in(self, name: str, client: Client | None) -> None:
        if client is not None and may_come_from(client.ips, self.address):
            self._answer_late(replies.WELCOME)
            return
        self._door.counts.failed_logins.add()
        self._door.failures.note(self.address, self._loop.time())
        why = "not from here" if client is not None else "wrong name or password"
        log.warning("login refused", extra={"user": name, "peer": self.address, "reason": why})
        await asyncio.sleep(FAILURE_DELAY_S)
        self._answer_late(replies.FOREIGN if client is not None else replies.WRONG)

    # -- a message

    def _judge_mail(self, event: Mail) -> Reply:
        # Looked up anew for each message: what the registry says now holds.
        client = self._door.client_of(self._session.authenticated_as)
        if client is None or not may_come_from(client.ips, self.address):
            return replies.GONE
        refusal = door_policy.judge_sender(client, event.sender)
        if refusal is not None:
            return refusal
        if not self._door.rate.take(client.name, self._loop.time()):
            return replies.TOO_FAST
        return replies.SENDER_OK

    def _judge_data(self) -> Reply:
        door = self._door
        size = door.options.max_content_bytes
        if door.connections.held_bytes + size > door.limits.max_held_bytes:
            return replies.FULL
        self._held = size
        door.connections.held_bytes += size
        self.deadline = self._loop.time() + door.limits.data_timeout_s
        return replies.GO

    def _hold_only(self, size: int) -> None:
        self._door.connections.held_bytes += size - self._held
        self._held = size

    def _release(self) -> None:
        self._hold_only(0)

    def _judge_content(self, event: Content) -> Reply | None:
        door = self._door
        client = door.client_of(self._session.authenticated_as)
        if client is None:
            self._release()
            return replies.GONE
        self._hold_only(len(event.content))
        now_ms = door.clock.now_ms()
        arrival = Arrival(
            mail_id=door.new_mail_id(now_ms),
            sender=event.sender,
            recipient=event.recipients[0],
            facts=door.scan(event.content) if event.refusal is None else Facts(event.size_bytes),
            at_ms=now_ms,
        )
        peer = Peer(client, self.address, door.options.max_content_bytes)
        door.failpoints.hit("ingest.door_taken")
        self.is_storing = True
        if event.refusal is not None:
            told = door_policy.judge_unfit(peer, arrival, event.refusal)
            self._tell(arrival, told, event.refusal)
            return None
        verdict = door_policy.judge_arrival(peer, arrival)
        if isinstance(verdict, MailEvent):
            self._tell(arrival, verdict, door_policy.refusal_reply(verdict.rules))
            return None
        reply = door_policy.accepted_reply(arrival.mail_id)
        message = Message(verdict.envelope, event.content)
        door.messages.put(message, lambda is_written: self._stored(is_written, reply))
        return None

    def _tell(self, arrival: Arrival, event: MailEvent, reply: Reply) -> None:
        self._door.refusals.put(
            (arrival.mail_id, event), lambda is_written: self._stored(is_written, reply)
        )

    def _stored(self, is_written: bool, reply: Reply) -> None:
        self.is_storing = False
        self._release()
        counts = self._door.counts
        if not is_written:
            counts.deferred.add(1, self._session.authenticated_as)
            reply = replies.LATER
        elif reply.is_positive:
            counts.accepted.add(1, self._session.authenticated_as)
        else:
            counts.refused.add(1, self._session.authenticated_as)
        self._answer_late(reply)

    # -- TLS

    async def _start_tls(self) -> None:
        transport, context = self._transport, self._door.tls()
        if transport is None or context is None:
            return
        try:
            secured = await self._loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=_HANDSHAKE_S
            )
        except (OSError, ssl.SSLError):
            transport.abort()
            return
        self._transport = secured
        self._session.tls_started()
