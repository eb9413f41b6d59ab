"""Turns a batch of intake records into the records that the ingest service writes.

This module stores nothing between batches. The decisions are in core/intake/submission.py. Before
the records of an unknown client are refused, the view of the registry is updated
(shared/registry/lookup.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from services.ingest.core.intake.kafka_record import read, undecodable
from services.ingest.core.intake.record_values import Reading
from services.ingest.core.intake.submission import Refusal, Scan, Submission, accept, received_rows
from shared.mail.headers import scan
from shared.registry.lookup import Clients, find_clients, require_whole
from shared.runtime.clock import Clock
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import packs
from shared.topics.records import EventType, Message, Origin

SERVICE: Final = "ingest"
# The value of Kafka's `timestamp_type` for a record whose time stamp the broker has set.
LOG_APPEND_TIME: Final = 1


class Intake:
    """Processes the batches of one worker."""

    def __init__(self, clients: Clients, code_header: str, clock: Clock) -> None:
        self._clients = clients
        self._scan: Scan = partial(scan, code_header=code_header.lower().encode())
        self._clock = clock

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Return the records to write in one transaction. Raises NotReady until the registry is
        loaded."""
        require_whole(self._clients)
        now_ms = self._clock.now_ms()
        known = find_clients(
            self._clients, {names.client_of_intake(record.topic) for record in records}
        )
        messages: list[Message] = []
        refusals: list[tuple[Record, Refusal]] = []
        for record in records:
            topic, client = record.topic, names.client_of_intake(record.topic)
            reading = _read(record, now_ms)
            submission = Submission(
                client,
                Origin(topic, record.partition, record.offset),
                record.timestamp if record.timestamp_type == LOG_APPEND_TIME else 0,
                reading.content,
                reading.given,
                reading.faults,
                record.timestamp,
            )
            match accept(submission, known[client], self._scan, now_ms):
                case Message() as message:
                    messages.append(message)
                case Refusal() as refusal:
                    if isinstance(record, UndecodableRecord):
                        event = replace(refusal.event, size_bytes=record.length)
                        refusal = replace(refusal, event=event)
                    refusals.append((record, refusal))
        written = [outputs.pack(names.RECEIVED, pack) for pack in packs(messages)]
        if refusals:
            copied = {client.name for client in known.values() if client and client.own_events}
            written += _refusal_records(refusals, copied, now_ms)
        return written


def _read(record: Record, now_ms: int) -> Reading:
    if isinstance(record, UndecodableRecord):
        return undecodable(record.value, record.first_offset, record.offset, record.reason)
    return read(record.value, record.headers, now_ms)


def _refusal_records(
    refusals: Sequence[tuple[Record, Refusal]], copied: Collection[str], now_ms: int
) -> list[Output]:
    written: list[Output] = []
    for record, refusal in refusals:
        event = refusal.event
        has_client_events = event.client in copied
        written += outputs.event_records(
            SERVICE, EventType.REFUSED, refusal.mail_id, event, has_client_events=has_client_events
        )
        written.append(_kept(record, refusal))
    received = received_rows([refusal for _, refusal in refusals])
    tally_id = f"{SERVICE}.{refusals[0][1].mail_id}"
    written += outputs.tallies(SERVICE, tally_id, now_ms, received)
    return written


def _kept(record: Record, refusal: Refusal) -> Output:
    """Return the record of mail.refused for a refused record."""
    code, reason = refusal.event.rules[0].rule, refusal.event.reason
    if isinstance(record, UndecodableRecord):
        return outputs.refused_record(record, code, reason, refusal.mail_id)
    slot = (record.topic, record.partition, record.offset)
    return outputs.refused_bytes(refusal.content, code, reason, slot, refusal.mail_id)
