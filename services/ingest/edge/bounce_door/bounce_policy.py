"""Decides the bounce door's answers to senders, recipients and messages on one connection.

This module owns the processing of a message between its final dot and its reply, and the bytes that
are held for the message during this time. It does not own the dialog (smtp_server/connection.py),
the judgement of recipients (core/bounce_door/recipients.py) and writing to Kafka (server.py).

The reply 250 is sent only after Kafka has acknowledged the records of all recipients. If a record
was not acknowledged, the reply is 451, and the peer sends the whole message again. Then there are
two records for each recipient whose first record was acknowledged. A refused recipient causes no
write, and no query to another system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from services.ingest.core.bounce_door import recipients as bounce_replies
from services.ingest.core.bounce_door.held_bytes import Hold, steps_of
from services.ingest.core.bounce_door.recipients import (
    REPLIES,
    Accepted,
    Refusal,
    judge_recipient,
    returned,
)
from services.ingest.core.smtp_server import replies
from services.ingest.core.smtp_server.rates import counted_as
from services.ingest.edge.bounce_door.context import BounceDoorContext, ReturnedMail
from services.ingest.edge.smtp_server.context import Conversation
from services.ingest.edge.writing.outbox import Outcome, Unknown
from shared.smtp.events import Content, Data, Mail, Recipient, ServerEvent
from shared.smtp.reply import Reply
from shared.topics.records import Returned

# The label values in the metrics.
_CONTENT: Final = "content"
_KAFKA: Final = "kafka"
_BYTES: Final = "bytes"
_ADDRESS_RATE: Final = "address rate"
_CLIENT_RATE: Final = "client rate"


class BouncePolicy:
    """The policy of one connection of the bounce door. Implements smtp_server.policy.Policy."""

    def __init__(self, context: BounceDoorContext, conversation: Conversation) -> None:
        self._context = context
        self._conversation = conversation
        self._address = counted_as(conversation.slot.address)
        self._hold = Hold(context.held, self._address)
        # The accepted recipients by address. So there is only one record for a recipient that is
        # given twice.
        self._accepted: dict[str, Accepted] = {}
        # The number of records of the present message that have no outcome yet.
        self._unanswered = 0
        self._is_lost = False  # True if a record of the present message was not acknowledged.
        self.is_storing = False

    def judge(self, event: ServerEvent) -> Reply | None:
        """Return the reply to an event, or None if the reply follows later."""
        return self._JUDGES[type(event)](self, event)

    def judge_growth(self, size_bytes: int) -> Reply | None:
        """Hold the bytes that have arrived. If there is no room, return a reply, which ends the
        connection."""
        if size_bytes <= self._hold.size_bytes:
            return None
        most = self._context.server.options.max_content_bytes
        wanted = max(self._hold.size_bytes, min(steps_of(size_bytes), most))
        if self._hold.try_resize(wanted):
            return None
        self._context.metrics.deferred.add(1, _BYTES)
        return bounce_replies.FULL_WHILE_RECEIVING

    def connection_lost(self) -> None:
        """Release the held bytes, except those of a message that is being stored."""
        if not self.is_storing:
            self._hold.release()

    # -- an envelope

    def _judge_mail(self, _: Mail) -> Reply:
        context = self._context
        self._accepted = {}
        most = context.limits.per_address
        if context.address_rate.try_take(self._address, most, context.clock.monotonic()):
            return replies.SENDER_OK
        context.metrics.deferred.add(1, _ADDRESS_RATE)
        return bounce_replies.TOO_FAST

    def _judge_recipient(self, event: Recipient) -> Reply:
        context = self._context
        found = judge_recipient(event.address, context.known(context.clock.now_ms()))
        if isinstance(found, Refusal):
            context.metrics.refused.add(1, found)
            return REPLIES[found]
        name, most = found.client.name, context.limits.per_client
        if not context.client_rate.try_take(name, most, context.clock.monotonic()):
            context.metrics.deferred.add(1, _CLIENT_RATE)
            return bounce_replies.TOO_FAST_FOR_CLIENT
        self._accepted[found.address] = found
        return replies.RECIPIENT_OK

    def _judge_data(self, _: Data) -> Reply:
        clients = [each.client.name for each in self._accepted.values()]
        if self._hold.try_begin(clients):
            return replies.GO
        self._context.metrics.deferred.add(1, _BYTES)
        return bounce_replies.FULL

    # -- a message

    def _judge_content(self, event: Content) -> Reply | None:
        context = self._context
        if event.refusal is not None:
            self._hold.release()
            context.metrics.refused.add(1, _CONTENT)
            return event.refusal
        clients = [each.client.name for each in self._accepted.values()]
        if not self._hold.try_store(len(event.content), clients):
            self._hold.release()
            context.metrics.deferred.add(1, _BYTES)
            return bounce_replies.FULL
        context.failpoints.hit("ingest.bounce_taken")
        now_ms, peer = context.clock.now_ms(), self._conversation.slot.address
        records = [
            returned(each, context.new_return_id(now_ms), event.sender, now_ms, peer)
            for each in self._accepted.values()
        ]
        self.is_storing, self._is_lost, self._unanswered = True, False, len(records)
        for record in records:
            context.messages.put(ReturnedMail(record, event.content), self._written_to(record))
        return None

    def _written_to(self, record: Returned) -> Callable[[Outcome], None]:
        return lambda outcome: self._written(record, outcome)

    def _written(self, record: Returned, outcome: Outcome) -> None:
        metrics = self._context.metrics
        self._unanswered -= 1
        if isinstance(outcome, Unknown):
            self._is_lost = True
        else:
            metrics.accepted.add(1, record.client, record.address_kind)
        if self._unanswered:
            return
        self.is_storing = False
        self._hold.release()
        if self._is_lost:
            metrics.deferred.add(1, _KAFKA)
            self._conversation.answer(replies.LATER)
        else:
            self._conversation.answer(bounce_replies.accepted_reply(record.return_id))

    _JUDGES: ClassVar[dict[type[ServerEvent], Callable[[BouncePolicy, Any], Reply | None]]] = {
        Mail: _judge_mail,
        Recipient: _judge_recipient,
        Data: _judge_data,
        Content: _judge_content,
    }
