"""Writes the messages that the front door has accepted onto mail.received.

Whatever comes within 3 ms is one pack, written by an idempotent producer without a transaction,
acks=all. A producer that failed once is given up, so nothing of it can be written much later.

A message handed in again is known by its key (reservations.py): it is written again under its
first mail id as long as nobody knows that the first was written, and validate drops one of the
two; else it is only told as a duplicate: where the client has a topic of its own, in a transaction
with the copy there. What was given up meanwhile is not written (withdrawals.py).
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

from services.ingest.edge.outbox import (
    SERVICE,
    TIMEOUT_S,
    Handed,
    Outbox,
    Outcome,
    Repeated,
    Reused,
    Written,
)
from services.ingest.edge.reservations import ReservedKeys
from shared.runtime.failpoints import Failpoints
from shared.stream import outputs
from shared.stream.client import ClientOptions, discard, make_producer
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.submission.attribution import unsent_event
from shared.submission.duplicates import duplicate_event
from shared.topics import ids, names
from shared.topics.codec import packs
from shared.topics.records import EventType, Message
from shared.topics.submission_keys import Answer, Conflict, Duplicate, New, Reserved

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.25


class Send(Struct):
    """One record, who waits for its acknowledgement, and what they are told then."""

    output: Output
    part: list[Handed[Message]]
    outcomes: list[Outcome]


class Plan(Struct):
    """What becomes of a batch: the records to send, and those whose key another message has.

    `copied` are events whose client has a topic of its own, each with the name of that client.
    """

    sends: list[Send]
    reused: list[Handed[Message]]
    first: list[Outcome]
    copied: list[tuple[Send, str]]


def _begin(handed: Handed[Message], answer: Answer) -> bool:
    """Note under which mail id it may be written from now on; False: it was given up."""
    if type(answer) is New:
        handed.mail_id = handed.item.envelope.mail_id
    elif isinstance(answer, Reserved):
        handed.mail_id = ids.from_bytes(answer.mail_id)
    return not handed.is_given_up


def plan_writes(
    batch: Sequence[tuple[Handed[Message], Answer]],
    has_own_events: Callable[[str], bool],
) -> Plan:
    """The records for a batch of messages, each with the answer to its key."""
    plan = Plan([], [], [], [])
    fresh: list[Handed[Message]] = []
    messages: list[Message] = []
    for handed, answer in batch:
        message = handed.item
        if type(answer) is New:
            fresh.append(handed)
            messages.append(message)
            continue
        match answer:
            case Conflict(first):
                plan.reused.append(handed)
                plan.first.append(Reused(ids.from_bytes(first)))
            case Duplicate(first):
                send, client = _telling(handed, ids.from_bytes(first)), message.envelope.client
                if has_own_events(client):
                    plan.copied.append((send, client))
                else:
                    plan.sends.append(send)
            case Reserved(first):
                envelope = replace(message.envelope, mail_id=ids.from_bytes(first))
                fresh.append(handed)
                messages.append(Message(envelope, message.content))
    at = 0
    for pack in packs(messages):
        part = fresh[at : at + len(pack)]
        at += len(pack)
        outcomes: list[Outcome] = [Written(message.envelope.mail_id) for message in pack]
        plan.sends.append(Send(outputs.pack(names.RECEIVED, pack), part, outcomes))
    return plan


def _telling(handed: Handed[Message], first_mail_id: str) -> Send:
    envelope = handed.item.envelope
    event = duplicate_event(unsent_event(envelope, "", envelope.received_at_ms), first_mail_id)
    output = outputs.event(SERVICE, EventType.DUPLICATE, envelope.mail_id, event)
    return Send(output, [handed], [Repeated(first_mail_id)])


class MessageWriter:
    """Writes accepted messages onto mail.received."""

    def __init__(
        self,
        options: ClientOptions,
        keys: ReservedKeys,
        failpoints: Failpoints,
        telling: TransactionalProducer,
        has_own_events: Callable[[str], bool],
    ) -> None:
        """`telling` writes events with their copies; it is this writer's own."""
        self._options = options
        self._keys = keys
        self._failpoints = failpoints
        self._telling = telling
        self._has_own_events = has_own_events
        self._producer: KafkaProducer | None = None
        self._failed = threading.Event()
        self.fault = ""
        self.failed_at_s = 0.0  # time.monotonic() of the fault

    def write(self, batch: list[Handed[Message]], outbox: Outbox[Message]) -> None:
        """Send a batch; each is settled when Kafka has answered."""
        answers = self._keys.reserve([handed.item for handed in batch])
        self._failpoints.hit("ingest.door_reserved")
        kept = [
            (handed, answer)
            for handed, answer in zip(batch, answers, strict=True)
            if _begin(handed, answer)
        ]
        plan = plan_writes(kept, self._has_own_events)
        outbox.settle(plan.reused, plan.first)
        waiting = deque(plan.sends)
        try:
            producer = self._ready()
            while waiting:
                send = waiting[0]
                topic, value, key, headers, _ = send.output
                sent = producer.send(topic, value, key, list(headers))
                waiting.popleft()
                self._failpoints.hit("ingest.door_sent")
                sent.add_both(self._answered, send, outbox)
        except (KafkaError, AssertionError, RuntimeError) as error:
            self._give_up(error)
            for send in waiting:
                outbox.give_up(send.part)
            time.sleep(_RETRY_S)
        if plan.copied:
            self._tell(plan.copied, outbox)

    def close(self) -> None:
        """End the producers."""
        self._discard()
        self._telling.close()

    def _tell(self, copied: Sequence[tuple[Send, str]], outbox: Outbox[Message]) -> None:
        written: list[Output] = []
        for send, client in copied:
            written += [send.output, outputs.own_copy(send.output, client)]
        try:
            self._telling.commit(written)
        except TransactionLost as error:
            log.warning("repeats not told", extra={"reason": str(error)})
            for send, _ in copied:
                outbox.give_up(send.part)
        else:
            for send, _ in copied:
                outbox.settle(send.part, send.outcomes)

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

    def _answered(self, send: Send, outbox: Outbox[Message], result: object) -> None:
        is_lost = isinstance(result, BaseException)
        if is_lost:
            self._note_fault(f"Kafka: {result!r}")
        self._failpoints.hit("ingest.door_acknowledged")
        if is_lost:
            outbox.give_up(send.part)
        else:
            outbox.settle(send.part, send.outcomes)

    def _give_up(self, error: BaseException) -> None:
        log.warning("front door: no Kafka", extra={"reason": str(error)})
        self._note_fault(f"Kafka: {error}")

    def _note_fault(self, fault: str) -> None:
        self.fault, self.failed_at_s = fault, time.monotonic()
        self._failed.set()

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            discard(producer)
