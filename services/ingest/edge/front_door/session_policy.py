"""Decides the front door's answers to logins, senders, recipients and messages on one connection.

This module owns the processing of a message between its final dot and its reply, and the bytes that
are held for the message during this time. It does not own the dialog (smtp_server/connection.py),
logins (login_policy.py), the rules (core/front_door/policy.py) and writing to Kafka
(message_writer.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from services.ingest.core.front_door import policy
from services.ingest.core.front_door.policy import Arrival, Peer
from services.ingest.core.smtp_server import replies
from services.ingest.edge.front_door.context import FrontDoorContext
from services.ingest.edge.front_door.login_policy import LoginPolicy
from services.ingest.edge.smtp_server.context import Conversation
from services.ingest.edge.writing.outbox import (
    Duplicate,
    KeyConflict,
    Outcome,
    Unknown,
    Written,
)
from shared.smtp.events import (
    Content,
    Data,
    Login,
    Mail,
    Recipient,
    ScramFinish,
    ScramStart,
    ServerEvent,
)
from shared.smtp.reply import Reply
from shared.topics.records import Envelope, Facts, MailEvent, Message


class SessionPolicy:
    """The policy of one connection of the front door. Implements smtp_server.policy.Policy."""

    def __init__(self, context: FrontDoorContext, conversation: Conversation) -> None:
        self._context = context
        self._conversation = conversation
        self._session = conversation.session
        self._login = LoginPolicy(context, conversation.slot)
        self._held_bytes = 0
        self.is_storing = False

    def judge(self, event: ServerEvent) -> Reply | None:
        """Return the reply to an event, or None if the reply follows later."""
        return self._JUDGES[type(event)](self, event)

    def judge_growth(self, size_bytes: int) -> Reply | None:
        """Accept any size, because the bytes of the largest permitted message have been held since
        DATA."""
        return None

    def connection_lost(self) -> None:
        """Release the held bytes, except those of a message that is being stored."""
        if not self.is_storing:
            self._hold(0)

    # -- a login

    def _judge_login(self, event: Login) -> Reply | None:
        refusal = self._login.reject_early(event)
        if refusal is None:
            self._conversation.spawn(self._log_in(event))
        return refusal

    def _judge_scram(self, event: ScramStart) -> Reply | None:
        refusal = self._login.reject_early(event)
        if refusal is None:
            self._session.answer_scram(self._login.offer(event.username))
        return refusal

    def _judge_proof(self, event: ScramFinish) -> None:
        self._conversation.spawn(self._log_in(event))

    async def _log_in(self, event: Login | ScramFinish) -> None:
        self._conversation.answer(await self._login.judge(event))

    # -- an envelope

    def _judge_mail(self, event: Mail) -> Reply:
        # Look the client up for each message, so that a change of the registry takes effect at
        # once.
        client = self._login.judge_client(self._session.authenticated_as)
        if isinstance(client, Reply):
            return client
        refusal = policy.judge_sender(client, event.sender)
        if refusal is not None:
            return refusal
        return replies.SENDER_OK if self._login.try_count_message(client) else replies.TOO_FAST

    def _judge_recipient(self, event: Recipient) -> Reply:
        return policy.judge_recipient(event.address, event.taken) or replies.RECIPIENT_OK

    def _judge_data(self, _: Data) -> Reply:
        size = self._context.server.options.max_content_bytes
        if not self._context.held.has_room(self._session.authenticated_as, size):
            return replies.FULL
        self._hold(size)
        return replies.GO

    def _hold(self, size: int) -> None:
        self._context.held.add(self._session.authenticated_as, size - self._held_bytes)
        self._held_bytes = size

    # -- a message

    def _judge_content(self, event: Content) -> Reply | None:
        context = self._context
        client = context.client_of(self._session.authenticated_as)
        if client is None:
            self._hold(0)
            return replies.GONE
        self._hold(len(event.content))
        now_ms = context.clock.now_ms()
        arrival = Arrival(
            mail_id=context.new_mail_id(now_ms),
            sender=event.sender,
            recipient=event.recipients[0],
            facts=(
                context.scan(event.content) if event.refusal is None else Facts(event.size_bytes)
            ),
            at_ms=now_ms,
        )
        options, address = context.server.options, self._conversation.slot.address
        peer = Peer(client, address, options.max_content_bytes)
        context.failpoints.hit("ingest.door_taken")
        self.is_storing = True
        if event.refusal is not None:
            unfit = policy.judge_unfit(peer, arrival, event.refusal)
            self._refuse(arrival.mail_id, unfit, event.refusal)
            return None
        verdict = policy.judge_arrival(peer, arrival)
        if isinstance(verdict, MailEvent):
            self._refuse(arrival.mail_id, verdict, policy.refusal_reply(verdict.rules))
            return None
        message = Message(verdict.envelope, event.content)
        context.messages.put(message, lambda outcome: self._written(message.envelope, outcome))
        return None

    def _refuse(self, mail_id: str, event: MailEvent, reply: Reply) -> None:
        """Send the reply when the event of the refusal is written."""
        self._context.refusals.put((mail_id, event), lambda outcome: self._refused(reply, outcome))

    def _written(self, envelope: Envelope, outcome: Outcome) -> None:
        metrics, client = self._context.metrics, self._session.authenticated_as
        match outcome:
            case Written(mail_id):
                metrics.accepted.add(1, client)
            case Duplicate(mail_id):
                metrics.duplicates.add(1, client)
            case KeyConflict(mail_id):
                event = policy.key_conflict(envelope, mail_id)
                self._refuse(envelope.mail_id, event, policy.refusal_reply(event.rules))
                return
            case Unknown():
                self._not_stored()
                return
        self._finish(policy.accepted_reply(mail_id))

    def _refused(self, reply: Reply, outcome: Outcome) -> None:
        if isinstance(outcome, Unknown):
            self._not_stored()
            return
        self._context.metrics.refused.add(1, self._session.authenticated_as)
        self._finish(reply)

    def _not_stored(self) -> None:
        self._context.metrics.deferred.add(1, self._session.authenticated_as)
        self._finish(replies.LATER)

    def _finish(self, reply: Reply) -> None:
        self.is_storing = False
        self._hold(0)
        self._conversation.answer(reply)

    _JUDGES: ClassVar[dict[type[ServerEvent], Callable[[SessionPolicy, Any], Reply | None]]] = {
        Login: _judge_login,
        ScramStart: _judge_scram,
        ScramFinish: _judge_proof,
        Mail: _judge_mail,
        Recipient: _judge_recipient,
        Data: _judge_data,
        Content: _judge_content,
    }
