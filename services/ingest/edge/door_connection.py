"""One connection of the front door: ServerSession on an asyncio transport.

Owns: events and their answers, time limits. Does not own: the dialog (shared/smtp), who may log in
(door_login.py), what may be sent (core/door_policy.py), Kafka (outbox.py), what goes before the
greeting (listener.py), bytes and their bounds (door_wire.py).

When it fails: a connection that breaks before the final dot leaves nothing; one that breaks
after it leaves a message that goes on, whose client has no answer and hands it in again.
Reading is paused while an answer is awaited or replies are not read, so a peer cannot make work
pile up. Time is given anew for each whole command, not for each byte; and a peer that does not
take the last reply is cut off after CLOSE_S.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, cast

from msgspec.structs import replace

from services.ingest.core import door_policy, replies
from services.ingest.core.crowd import Excess, Place
from services.ingest.core.door_policy import Arrival, Peer
from services.ingest.edge.door import Door
from services.ingest.edge.door_login import DoorLogin
from services.ingest.edge.door_wire import DoorWire
from services.ingest.edge.listener import HANDSHAKE
from services.ingest.edge.outbox import Outcome, Repeated, Reused, Unknown, Written
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
from shared.smtp.server.session import ServerSession
from shared.smtp.server.states import CONTENT, TLS
from shared.topics.records import Envelope, Facts, MailEvent, Message

log = logging.getLogger(__name__)

# How long the last reply may take to be read, where a command may not take less.
CLOSE_S: Final = 10.0


class DoorConnection(asyncio.Protocol):
    """A client that is being served."""

    def __init__(self, door: Door, place: Place, is_implicit: bool) -> None:
        """`is_implicit`: TLS was begun before the greeting."""
        self._door = door
        self._place = place
        if door.options.requires_auth:
            place.displace = self._displaced
        else:
            place.identify()  # nobody has to log in
        self._login = DoorLogin(door, place)
        self.address = place.address
        options = replace(door.options, is_secure=True) if is_implicit else door.options
        self._session = ServerSession(options)
        self._wire = DoorWire(self._session, self._run)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._held = 0
        self.deadline = self._loop.time() + door.limits.login_timeout_s
        # The answer to a whole message is awaited: the connection waits for us, not we for it.
        self.is_storing = False

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, a little later: who speaks before is no mail client (RFC 5321, 3.1)."""
        self._wire.begin(cast(asyncio.Transport, transport))
        self._door.connections.add(self)
        if self._door.connections.is_draining:
            self.end()
            return
        delay_s = self._door.limits.greeting_delay_s
        self._greeting = self._loop.call_later(delay_s, self._greet)

    def data_received(self, data: bytes) -> None:
        """Answer what has come."""
        self._wire.receive(data)

    def pause_writing(self) -> None:
        """The peer does not read: answer no more for now."""
        self._wire.choke()

    def resume_writing(self) -> None:
        """It reads again."""
        self._wire.unchoke()

    def eof_received(self) -> bool:
        """The peer will say no more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wire.lose()
        if not self.is_storing:
            self._release()
        if self._greeting is not None:
            self._greeting.cancel()
        if self._task is not None:
            self._task.cancel()
        self._place.leave()
        self._door.connections.remove(self)

    # -- the door's side

    def sweep(self, now: float) -> None:
        """End the connection where it has been idle or slow for too long."""
        if self.deadline > now:
            return
        if not self._wire.is_open:
            self._wire.abort()
        elif not self.is_storing and self._task is None:
            self.end(self._lateness())

    def end(self, reply: Reply = replies.CLOSING) -> None:
        """Say why, and close; within a handshake nothing can be said."""
        if self._wire.is_open:
            self._give_last_time()
            self._wire.close(reply)

    # -- inside

    def _displaced(self) -> None:
        """Give the place before login to a newer connection."""
        self._door.counts.turned_away.add(1, Excess.BEFORE_LOGIN)
        if self._wire.is_open:
            self.end(replies.MANY_BEFORE_LOGIN)
        else:
            self._wire.abort()

    def _greet(self) -> None:
        if not self._wire.is_open:
            return
        host = self._door.options.host
        self._session.greet(Reply(220, "", f"{host} ESMTP Sluice"))
        self._run()

    def _run(self) -> None:
        session = self._session
        while (event := session.next_event()) is not None:
            # Asked for by type: isinstance() takes five times as long for a Struct.
            if type(event) is Ended:
                self._write()
                self._give_last_time()
                self._wire.close()
                return
            reply = self._JUDGES[type(event)](self, event)
            if reply is None:
                continue  # there is no next event before its answer
            session.answer(reply)
            if session.state is TLS:
                self._write()
                self._begin_tls()
                return
        self._write()

    def _write(self) -> None:
        # Something to say: a command was whole, or a message. Who has not logged in yet gets no
        # more time for it.
        session = self._session
        has_said = self._wire.write()
        if has_said and session.authenticated_as and session.state is not CONTENT:
            self.deadline = self._loop.time() + self._door.limits.idle_timeout_s
        if session.refused != self._place.errors:
            self._note_errors(session.refused)

    def _note_errors(self, total: int) -> None:
        excess = self._place.note_errors(total, self._loop.time())
        if excess is not None:
            self._door.counts.turned_away.add(1, excess)
            self.end(replies.EXCESS[excess])

    def _give_last_time(self) -> None:
        self.deadline = self._loop.time() + min(CLOSE_S, self._door.limits.idle_timeout_s)

    def _lateness(self) -> Reply:
        if self._session.state is CONTENT:
            return replies.SLOW
        return replies.IDLE if self._session.authenticated_as else replies.NO_LOGIN

    def _answer_late(self, reply: Reply) -> None:
        """Answer the event that waits, and go on with what has come meanwhile."""
        if not self._wire.is_open:
            return
        self._session.answer(reply)
        if self._door.connections.is_draining:
            self._write()
            self.end()
            return
        self._wire.go_on()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("front door: a connection crashed", exc_info=error)
            self.end(replies.CRASHED)

    # -- a login

    def _judge_login(self, event: Login) -> Reply | None:
        refusal = self._login.turns_away(event)
        if refusal is None:
            self._spawn(self._log_in(event))
        return refusal

    def _judge_scram(self, event: ScramStart) -> Reply | None:
        refusal = self._login.turns_away(event)
        if refusal is None:
            self._session.answer_scram(self._login.offer(event.username))
        return refusal

    def _judge_proof(self, event: ScramFinish) -> None:
        self._spawn(self._log_in(event))

    async def _log_in(self, event: Login | ScramFinish) -> None:
        self._answer_late(await self._login.judge(event))

    # -- a message

    def _judge_mail(self, event: Mail) -> Reply:
        # Looked up anew for each message: what the registry says now holds.
        client = self._login.judge_client(self._session.authenticated_as)
        if isinstance(client, Reply):
            return client
        refusal = door_policy.judge_sender(client, event.sender)
        if refusal is not None:
            return refusal
        return replies.SENDER_OK if self._login.is_within_rate(client) else replies.TOO_FAST

    def _judge_recipient(self, event: Recipient) -> Reply:
        return door_policy.judge_recipient(event.address, event.taken) or replies.RECIPIENT_OK

    def _judge_data(self, _: Data) -> Reply:
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
            self._tell(arrival.mail_id, told, event.refusal)
            return None
        verdict = door_policy.judge_arrival(peer, arrival)
        if isinstance(verdict, MailEvent):
            self._tell(arrival.mail_id, verdict, door_policy.refusal_reply(verdict.rules))
            return None
        message = Message(verdict.envelope, event.content)
        door.messages.put(message, lambda outcome: self._written(message.envelope, outcome))
        return None

    def _tell(self, mail_id: str, event: MailEvent, reply: Reply) -> None:
        self._door.refusals.put((mail_id, event), lambda outcome: self._told(reply, outcome))

    def _written(self, envelope: Envelope, outcome: Outcome) -> None:
        counts, client = self._door.counts, self._session.authenticated_as
        match outcome:
            case Written(mail_id):
                counts.accepted.add(1, client)
            case Repeated(mail_id):
                counts.repeated.add(1, client)
            case Reused(mail_id):
                event = door_policy.reused_key(envelope, mail_id)
                self._tell(envelope.mail_id, event, door_policy.refusal_reply(event.rules))
                return
            case Unknown():
                self._not_stored()
                return
        self._stored(door_policy.accepted_reply(mail_id))

    def _told(self, reply: Reply, outcome: Outcome) -> None:
        if isinstance(outcome, Unknown):
            self._not_stored()
            return
        self._door.counts.refused.add(1, self._session.authenticated_as)
        self._stored(reply)

    def _not_stored(self) -> None:
        self._door.counts.deferred.add(1, self._session.authenticated_as)
        self._stored(replies.LATER)

    def _stored(self, reply: Reply) -> None:
        self.is_storing = False
        self._release()
        self._answer_late(reply)

    # -- TLS

    def _begin_tls(self) -> None:
        if self._wire.has_begun_tls():
            self._spawn(self._start_tls())
        else:
            self._give_last_time()

    async def _start_tls(self) -> None:
        context, limits = self._door.tls(), self._door.limits
        if context is None:
            return
        if not await self._wire.secure(self, context, limits.handshake_timeout_s):
            self._door.counts.turned_away.add(1, HANDSHAKE)

    # Event to its answer; None where that comes later.
    _JUDGES: ClassVar[dict[type[ServerEvent], Callable[[DoorConnection, Any], Reply | None]]] = {
        Hello: lambda _, __: replies.OK,
        StartTls: lambda _, __: replies.TLS,
        Login: _judge_login,
        ScramStart: _judge_scram,
        ScramFinish: _judge_proof,
        Mail: _judge_mail,
        Recipient: _judge_recipient,
        Data: _judge_data,
        Content: _judge_content,
    }
