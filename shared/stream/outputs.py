"""Builds the output records that every service writes: events, tallies, packs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import encode_event, encode_pack, encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import EventType, MailEvent, Message

# mail.refused stores at most this number of bytes of a record. Headers contain the length and hash
# of the whole record.
KEPT_BYTES: Final = 64 * 1024
MAX_REASON_CHARS: Final = 1_000
# The maximum size of the rows of one tally. mail.events accepts records of up to 1 MB.
MAX_TALLY_BYTES: Final = 300_000
# The size of a mail id in JSON: 26 characters, two quotes and a comma.
MAIL_ID_BYTES: Final = 29

Mailing = tuple[str, str, str]  # client, mailing ID, sub-client


def event(service: str, kind: EventType, mail_id: str, data: MailEvent) -> Output:
    """Build the record of this event for mail.events."""
    key, value, headers = encode_event(kind, mail_id, data, service)
    return Output(names.EVENTS, value, key, headers)


def event_records(
    service: str, kind: EventType, mail_id: str, data: MailEvent, *, has_client_events: bool
) -> list[Output]:
    """Build the record for mail.events and, if the client has its own topic, the copy for it."""
    first = event(service, kind, mail_id, data)
    return [first, client_copy(first, data.client)] if has_client_events else [first]


def client_copy(original: Output, client: str) -> Output:
    """Build the copy for the client's topic. Write it in the same transaction as the original."""
    return original._replace(topic=names.own_events(client))


def pack(topic: str, messages: Sequence[Message], partition: int | None = None) -> Output:
    """Build the record for `topic` that contains these messages."""
    value, headers = encode_pack(messages)
    return Output(topic, value, None, headers, partition)


def tallies(
    service: str, tally_id: str, at_ms: int, received: Mapping[Mailing, Sequence[str]]
) -> Iterator[Output]:
    """Build the records for mail.events that count the messages of a transaction per mailing.

    `received` contains the mail ids of the messages per mailing. One record is returned, unless its
    rows exceed MAX_TALLY_BYTES. The rows reach this size with about 10,000 messages of few
    mailings, or with 1,200 messages of 1,200 mailings with the longest names. `tally_id` must be
    unique to the transaction, and stay the same when the transaction is repeated.
    """
    for number, rows in enumerate(_rows(received)):
        name = f"{tally_id}.{number}" if number else tally_id
        key, value, headers = encode_tally(Tally(service, at_ms, rows), name)
        yield Output(names.EVENTS, value, key, headers)


def _rows(received: Mapping[Mailing, Sequence[str]]) -> Iterator[tuple[TallyRow, ...]]:
    """Yield groups of rows that take at most MAX_TALLY_BYTES together."""
    rows, room = list[TallyRow](), MAX_TALLY_BYTES
    for mailing in sorted(received):
        mail_ids, begin, own = received[mailing], 0, _row_bytes(mailing)
        while begin < len(mail_ids):
            fitting = (room - own) // MAIL_ID_BYTES
            if fitting < 1 and rows:
                yield tuple(rows)
                rows, room = [], MAX_TALLY_BYTES
                continue
            part = tuple(mail_ids[begin : begin + max(1, fitting)])
            rows.append(TallyRow(*mailing, len(part), part))
            room -= own + len(part) * MAIL_ID_BYTES
            begin += len(part)
    if rows:
        yield tuple(rows)


def _row_bytes(mailing: Mailing) -> int:
    """Return the size of a row in JSON, without mail ids."""
    return len(msgspec.json.encode(TallyRow(*mailing, MAX_TALLY_BYTES))) + len(",")


def refused_bytes(
    content: bytes, code: str, reason: str, place: tuple[str, int, int], mail_id: str = ""
) -> Output:
    """Build the record for mail.refused: the beginning of these refused bytes, and the reason."""
    headers = [
        *_refused_headers(code, reason, place, mail_id),
        ("length", str(len(content)).encode()),
        ("sha256", hashlib.sha256(content).hexdigest().encode()),
    ]
    return Output(names.REFUSED, content[:KEPT_BYTES], mail_id.encode() or None, headers)


def refused_record(
    record: Record | UndecodableRecord, code: str, reason: str, mail_id: str = ""
) -> Output:
    """Build the record for mail.refused: the beginning of this refused record, and the reason."""
    place = (record.topic, record.partition, record.offset)
    if not isinstance(record, UndecodableRecord):
        return refused_bytes(record.value or b"", code, reason, place, mail_id)
    headers = [
        *_refused_headers(code, record.reason, place, mail_id),
        ("length", str(record.length).encode()),
        ("sha256", record.sha256.encode()),
        ("first_offset", str(record.first_offset).encode()),
    ]
    return Output(names.REFUSED, record.value[:KEPT_BYTES], mail_id.encode() or None, headers)


def _refused_headers(
    code: str, reason: str, place: tuple[str, int, int], mail_id: str
) -> list[tuple[str, bytes]]:
    topic, partition, offset = place
    headers = [
        ("code", code.encode()),
        ("reason", reason[:MAX_REASON_CHARS].encode("utf-8", "backslashreplace")),
        ("topic", topic.encode()),
        ("partition", str(partition).encode()),
        ("offset", str(offset).encode()),
    ]
    if mail_id:
        headers.append(("mail_id", mail_id.encode()))
    return headers
