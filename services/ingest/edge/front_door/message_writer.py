"""Writes the messages that the front door has accepted to mail.received.

The messages of one batch become packs, written by an idempotent producer without a transaction,
acks=all. A producer that failed once is discarded, so that none of its records can be written much
later.

A message that is submitted again is found by its key (reservations.py). It is written again under
its first mail id as long as it is not known that the first one was written, and validate drops one
of the two. Otherwise only an event is written; if the client has a topic of its own, in one
transaction with the copy for that topic. A message that was given up in the meantime is not
written (withdrawals.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError
from msgspec import Struct
from msgspec.structs import replace

from services.ingest.edge.front_door.outbox import (
    SERVICE,
    TIMEOUT_S,
    BatchResult,
    Duplicate,
    KeyConflict,
    Outcome,
    PendingWrite,
    Written,
)
from services.ingest.edge.front_door.reservations import ReservedKeys
from shared.runtime.failpoints import Failpoints
from shared.stream import outputs
from shared.stream.client import ClientOptions, make_producer
from shared.stream.kafka_python.producing import discard
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.submission.attribution import unsent_event
from shared.submission.duplicates import duplicate_event
from shared.topics import ids, names, submission_keys
from shared.topics.codec import packs
from shared.topics.records import EventType, Message
from shared.topics.submission_keys import Answer, Conflict, New, Reserved

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.25


class Send(Struct):
    """One record, the items that wait for its acknowledgement, and the outcomes they then get."""

    output: Output
    result: BatchResult[Message]
    outcomes: list[Outcome]

    def acknowledge(self) -> None:
        """Set the outcomes: Kafka has the record."""
        self.result.outcomes.set_result(self.outcomes)


class CopiedSend(Struct):
    """An event to be written with a copy to the topic of this client."""

    send: Send
    client: str


class Plan(Struct):
    """The steps for a batch: records to send, events to send with a copy, and messages whose
    submission key another message has."""

    sends: list[Send]
    copied: list[CopiedSend]
    conflicts: list[BatchResult[Message]]


def _try_begin(pending: PendingWrite[Message], answer: Answer) -> bool:
    """Record the mail id under which it may be written. Returns False if it was given up."""
    match answer:
        case New():
            return pending.try_begin(pending.item.envelope.mail_id)
        case Reserved(first):
            return pending.try_begin(ids.from_bytes(first))
    return pending.try_begin("")


def plan_writes(
    batch: Sequence[tuple[PendingWrite[Message], Answer]],
    has_client_events: Callable[[str], bool],
) -> Plan:
    """Plan the records for a batch of messages, each with the answer for its submission key."""
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


def _duplicate(pending: PendingWrite[Message], first_mail_id: str) -> Send:
    envelope = pending.item.envelope
    event = duplicate_event(unsent_event(envelope, "", envelope.received_at_ms), first_mail_id)
    output = outputs.event(SERVICE, EventType.DUPLICATE, envelope.mail_id, event)
    return Send(output, BatchResult([pending]), [Duplicate(first_mail_id)])


class MessageWriter:
    """Writes accepted messages to mail.received. Used by one thread."""

    def __init__(
        self,
        options: ClientOptions,
        keys: ReservedKeys,
        failpoints: Failpoints,
        events: TransactionalProducer,
        has_client_events: Callable[[str], bool],
    ) -> None:
        """`events` writes events with their copies; only this writer uses it."""
        self._options = options
        self._keys = keys
        self._failpoints = failpoints
        self._events = events
        self._has_client_events = has_client_events
        self._producer: KafkaProducer | None = None
        self._failed = threading.Event()
        self.fault = ""
        self.failed_at_s = 0.0  # time.monotonic() of the fault

    def write(self, batch: list[PendingWrite[Message]]) -> list[BatchResult[Message]]:
        """Send a batch. The outcomes are set after Kafka has answered."""
        answers = self._keys.reserve([pending.item for pending in batch])
        self._failpoints.hit("ingest.door_reserved")
        begun = [
            (pending, answer)
            for pending, answer in zip(batch, answers, strict=True)
            if _try_begin(pending, answer)
        ]
        plan = plan_writes(begun, self._has_client_events)
        self._send(plan.sends)
        if plan.copied:
            self._commit(plan.copied)
        sends = (*plan.sends, *(copied.send for copied in plan.copied))
        return [*plan.conflicts, *(send.result for send in sends)]

    def close(self) -> None:
        """Close the producers."""
        self._discard()
        self._events.close()

    def _send(self, sends: Sequence[Send]) -> None:
        waiting = deque(sends)
        try:
            producer = self._ready()
            while waiting:
                topic, value, key, headers, _ = waiting[0].output
                sent = producer.send(topic, value, key, list(headers))
                send = waiting.popleft()
                self._failpoints.hit("ingest.door_sent")
                sent.add_both(self._answered, send)
        except (KafkaError, AssertionError, RuntimeError) as error:
            log.warning("front door: Kafka is unavailable", extra={"reason": str(error)})
            self._note_fault(f"Kafka: {error}")
            for send in waiting:
                send.result.set_unknown()
            time.sleep(_RETRY_S)

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

    def _ready(self) -> Any:
        if self._failed.is_set():
            self._discard()
            self._failed.clear()
        if self._producer is None:
            self._producer = make_producer(
                self._options,
                None,
                linger_ms=0,
                request_timeout_ms=int(TIMEOUT_S * 1000) - 500,
                delivery_timeout_ms=int(TIMEOUT_S * 1000),
                max_block_ms=int(TIMEOUT_S * 1000),
            )
            self.fault = ""
        return self._producer

    def _answered(self, send: Send, result: object) -> None:
        is_lost = isinstance(result, BaseException)
        if is_lost:
            self._note_fault(f"Kafka: {result!r}")
        self._failpoints.hit("ingest.door_acknowledged")
        if is_lost:
            send.result.set_unknown()
        else:
            send.acknowledge()

    def _note_fault(self, fault: str) -> None:
        self.fault, self.failed_at_s = fault, time.monotonic()
        self._failed.set()

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            discard(producer)
