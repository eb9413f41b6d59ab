"""Writes the front door's accepted messages, and the events of refusals after DATA, to Kafka.

The messages of a batch are written as packs, by an idempotent producer with acks=all and without a
transaction (writing/record_sender.py). The refusals of a batch are written in one transaction,
which has one event per message and a tally.

A message that is submitted again is found by its submission key (reservations.py). If it is not
known whether the first message was written, the second message is written under the mail id of the
first message, and the validate service drops one of the two. If the first message was certainly
written, only an event is written for the second message. If the client has its own topic of events,
the event and a copy for that topic are written in one transaction. A message is not written if the
outbox has given it up in the meantime (reservations.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.ingest.edge.front_door.reservations import ReservedKeys
from services.ingest.edge.writing.outbox import (
    SERVICE,
    BatchResult,
    Duplicate,
    KeyConflict,
    Outcome,
    PendingWrite,
    Written,
)
from services.ingest.edge.writing.record_sender import RecordSender, Send, SenderFailpoints
from shared.runtime.failpoints import Failpoints
from shared.stream import outputs
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.submission.attribution import duplicate_event, unsent_event
from shared.topics import ids, names, submission_keys
from shared.topics.codec import packs
from shared.topics.records import EventType, MailEvent, Message
from shared.topics.submission_keys import Answer, Conflict, New, Reserved

log = logging.getLogger(__name__)

FAILPOINTS: Final = SenderFailpoints("ingest.door_sent", "ingest.door_acknowledged")

# A mail id and the event of its refusal.
Refused = tuple[str, MailEvent]


class CopiedSend(Struct):
    """An event that must be written together with a copy for the client's topic of events."""

    send: Send[Message]
    client: str


class Plan(Struct):
    """The steps for a batch: the records to send, the events to send with a copy, and the key
    conflicts."""

    sends: list[Send[Message]]
    copied: list[CopiedSend]
    conflicts: list[BatchResult[Message]]


class MessageWriter:
    """Writes accepted messages to mail.received. Used by one thread."""

    def __init__(
        self,
        sender: RecordSender,
        keys: ReservedKeys,
        failpoints: Failpoints,
        events: TransactionalProducer,
        has_client_events: Callable[[str], bool],
    ) -> None:
        """`events` is the producer for events with copies. Only this writer uses `events` and
        `sender`."""
        self._sender = sender
        self._keys = keys
        self._failpoints = failpoints
        self._events = events
        self._has_client_events = has_client_events

    def write(self, batch: list[PendingWrite[Message]]) -> list[BatchResult[Message]]:
        """Send the records of a batch. Their outcomes are set after Kafka has answered."""
        answers = self._keys.reserve([pending.item for pending in batch])
        self._failpoints.hit("ingest.door_reserved")
        begun = [
            (pending, answer)
            for pending, answer in zip(batch, answers, strict=True)
            if _try_begin(pending, answer)
        ]
        plan = plan_writes(begun, self._has_client_events)
        self._sender.send(plan.sends)
        if plan.copied:
            self._commit(plan.copied)
        sends = (*plan.sends, *(copied.send for copied in plan.copied))
        return [*plan.conflicts, *(send.result for send in sends)]

    def close(self) -> None:
        """Close the producers."""
        self._sender.close()
        self._events.close()

    def _commit(self, copied: Sequence[CopiedSend]) -> None:
        written: list[Output] = []
        for each in copied:
            output = each.send.output
            written += [output, outputs.client_copy(output, each.client)]
        try:
            self._events.commit(written)
        except TransactionLost as error:
            log.warning("events of duplicates were not written", extra={"reason": str(error)})
            for each in copied:
                each.send.result.set_unknown()
        else:
            for each in copied:
                each.send.acknowledge()


class RefusalWriter:
    """Writes the events of refusals. Used by one thread."""

    def __init__(
        self, producer: TransactionalProducer, has_client_events: Callable[[str], bool]
    ) -> None:
        self._producer = producer
        self._has_client_events = has_client_events

    def write(self, batch: list[PendingWrite[Refused]]) -> list[BatchResult[Refused]]:
        """Write and commit the events of a batch."""
        written: list[Output] = []
        received: dict[outputs.Mailing, list[str]] = {}
        for mail_id, event in (pending.item for pending in batch):
            has_client_events = self._has_client_events(event.client)
            written += outputs.event_records(
                SERVICE, EventType.REFUSED, mail_id, event, has_client_events=has_client_events
            )
            key = (event.client, event.mailing_id, event.sub_client)
            received.setdefault(key, []).append(mail_id)
        first_id, first = batch[0].item
        written += outputs.tallies(SERVICE, f"{SERVICE}.{first_id}", first.at_ms, received)
        result = BatchResult(batch)
        try:
            self._producer.commit(written)
        except TransactionLost as error:
            log.warning("events of refusals were not written", extra={"reason": str(error)})
            result.set_unknown()
        else:
            result.outcomes.set_result([Written()] * len(batch))
        return [result]

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


def plan_writes(
    batch: Sequence[tuple[PendingWrite[Message], Answer]],
    has_client_events: Callable[[str], bool],
) -> Plan:
    """Plan the records for a batch of messages. Each message comes with the answer about its
    submission key."""
    plan = Plan([], [], [])
    to_pack: list[tuple[PendingWrite[Message], Message]] = []
    for pending, answer in batch:
        message = pending.item
        match answer:
            case New():
                to_pack.append((pending, message))
            case Reserved(first):
                envelope = replace(message.envelope, mail_id=ids.from_bytes(first))
                to_pack.append((pending, Message(envelope, message.content)))
            case Conflict(first):
                outcome = KeyConflict(ids.from_bytes(first))
                plan.conflicts.append(BatchResult([pending], [outcome]))
            case submission_keys.Duplicate(first):
                send, client = _duplicate(pending, ids.from_bytes(first)), message.envelope.client
                if has_client_events(client):
                    plan.copied.append(CopiedSend(send, client))
                else:
                    plan.sends.append(send)
    start = 0
    for pack in packs([message for _, message in to_pack]):
        part = [pending for pending, _ in to_pack[start : start + len(pack)]]
        start += len(pack)
        outcomes: list[Outcome] = [Written(message.envelope.mail_id) for message in pack]
        plan.sends.append(Send(outputs.pack(names.RECEIVED, pack), BatchResult(part), outcomes))
    return plan


def _try_begin(pending: PendingWrite[Message], answer: Answer) -> bool:
    """Store the mail id under which the message will be written. Return False if the message was
    given up."""
    match answer:
        case New():
            return pending.try_begin(pending.item.envelope.mail_id)
        case Reserved(first):
            return pending.try_begin(ids.from_bytes(first))
    return pending.try_begin("")


def _duplicate(pending: PendingWrite[Message], first_mail_id: str) -> Send[Message]:
    envelope = pending.item.envelope
    event = duplicate_event(unsent_event(envelope, "", envelope.received_at_ms), first_mail_id)
    output = outputs.event(SERVICE, EventType.DUPLICATE, envelope.mail_id, event)
    return Send(output, BatchResult([pending]), [Duplicate(first_mail_id)])
