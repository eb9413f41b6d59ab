"""The byte formats of records: packs of messages, returned mail, and events as CloudEvents.

A pack is one Kafka record with 1 to PACK_MAX_MESSAGES messages. The value of the record consists of
the contents of the messages, one after another. The header `m` of the record is a msgpack list of
[envelope, content length]. kafka-python takes 40-130 µs per record, but only 3-10 µs per further
message in a record (docs/decisions/0002-packs.md). Therefore the internal topics have packs,
whereas the intake topics and mail.events have one record per message or event. The value of a
record of mail.returned is one message as it was received, and its header `m` is a msgpack
`Returned`. Events use the binary mode of CloudEvents.

This module owns the encodings and the header IN_TRANSACTION. The types are in records.py, and the
names of topics in names.py. All decoders raise CodecError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from shared.topics.event_records import Tally
from shared.topics.records import Envelope, Event, EventType, MailEvent, Message, Returned

Headers = list[tuple[str, bytes]]

# A pack is complete when it reaches one of these two limits. 64 messages of 10 KB have about 640
# KB.
PACK_MAX_MESSAGES: Final = 64
PACK_MAX_BYTES: Final = 768 * 1024

TYPE_PREFIX: Final = "sluice.mail."
TALLY_TYPE: Final = "sluice.tally"
_TALLY_TYPE_BYTES: Final = b"sluice.tally"
_JSON_TYPE: Final = b"application/json"
_TYPES: Final = {kind: f"{TYPE_PREFIX}{kind.value}".encode() for kind in EventType}
# A small cache is enough, because the times of a busy process's events have only a few different
# seconds.
_CACHED_SECONDS: Final = 64
# Some topics have records that are written in a transaction and records that are written without a
# transaction. Records with a transaction have this header. A reader must not process such a record
# before its transaction has committed, but it need not wait for other records
# (shared/stream/prompt_reader.py). Records that were written by earlier versions do not have the
# header.
IN_TRANSACTION: Final = ("tx", b"1")


class CodecError(ValueError):
    """A record of an internal topic cannot be decoded. The text describes what was found."""


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One message of a pack: its envelope and the length of its content in bytes."""

    envelope: Envelope
    length: int


# The errors that msgspec raises. ValueError is the base class of msgspec's own errors and of
# UnicodeDecodeError. If values are nested too deeply, RecursionError is raised.
_UNREADABLE: Final = (ValueError, RecursionError)

_msgpack_encoder: Final = msgspec.msgpack.Encoder()
_pack_decoder: Final = msgspec.msgpack.Decoder(list[Entry])
_returned_decoder: Final = msgspec.msgpack.Decoder(Returned)
_json_encoder: Final = msgspec.json.Encoder()
_mail_event_decoder: Final = msgspec.json.Decoder(MailEvent)
_tally_decoder: Final = msgspec.json.Decoder(Tally)


def encode_pack(messages: Sequence[Message]) -> tuple[bytes, Headers]:
    """Return the value and headers of the record that holds these messages."""
    entries = [Entry(message.envelope, len(message.content)) for message in messages]
    value = (
        messages[0].content
        if len(messages) == 1
        else b"".join([message.content for message in messages])
    )
    return value, [("m", _msgpack_encoder.encode(entries))]


def decode_pack(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> list[Message]:
    """Return the messages of a pack. Raises CodecError if the record is not a pack."""
    meta = next((content for name, content in headers if name == "m"), None)
    if meta is None or value is None:
        raise CodecError("not a pack: the record has no header 'm' or no value")
    try:
        entries = _pack_decoder.decode(meta)
    except _UNREADABLE as error:
        raise CodecError(f"not a pack: header 'm': {error}") from None
    lengths = [entry.length for entry in entries]
    if not lengths or min(lengths) < 0 or sum(lengths) != len(value):
        raise CodecError("not a pack: the lengths in header 'm' do not add up to the value")
    if len(entries) == 1:
        return [Message(entries[0].envelope, value)]
    messages, start = [], 0
    for entry in entries:
        end = start + entry.length
        messages.append(Message(entry.envelope, value[start:end]))
        start = end
    return messages


def packs(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Split messages into packs within both limits. The order of the messages is kept."""
    pack: list[Message] = []
    size = 0
    for message in messages:
        length = len(message.content)
        if pack and (len(pack) >= PACK_MAX_MESSAGES or size + length > PACK_MAX_BYTES):
            yield pack
            pack, size = [], 0
        pack.append(message)
        size += length
    if pack:
        yield pack


def _time(at_ms: int) -> bytes:
    second, thousandths = divmod(at_ms, 1000)
    return b"%b.%03dZ" % (_second(second), thousandths)


@lru_cache(_CACHED_SECONDS)
def _second(at_s: int) -> bytes:
    return datetime.fromtimestamp(at_s, UTC).isoformat().removesuffix("+00:00").encode()


def event_headers(event_id: bytes, kind: bytes, source: bytes, at_ms: int) -> Headers:
    """Return the headers of a CloudEvent in binary mode with JSON data."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id),
        ("ce_type", kind),
        ("ce_source", source),
        ("ce_time", _time(at_ms)),
        ("content-type", _JSON_TYPE),
    ]


def event_id(mail_id: str, kind: EventType, attempt: int, return_id: str = "") -> str:
    """Return the id of an event. If the event is published again after a crash, it has the same id.

    The same message may come back several times. `return_id` distinguishes the events of these
    returns.
    """
    return f"{mail_id}.{kind}.{return_id or attempt}"


def encode_event(
    kind: EventType, mail_id: str, data: MailEvent, service: str
) -> tuple[bytes, bytes, Headers]:
    """Return the key, value and headers of the record of mail.events for this event."""
    subject = mail_id.encode()
    headers = event_headers(
        event_id(mail_id, kind, data.attempt, data.return_id).encode(),
        _TYPES[kind],
        b"/sluice/" + service.encode(),
        data.at_ms,
    )
    headers.append(("ce_subject", subject))
    return subject, _json_encoder.encode(data), headers


def encode_tally(tally: Tally, tally_id: str) -> tuple[bytes, bytes, Headers]:
    """Return the key, value and headers of a `sluice.tally`. `tally_id` must be unique."""
    key = tally_id.encode()
    source = b"/sluice/" + tally.service.encode()
    headers = event_headers(key, _TALLY_TYPE_BYTES, source, tally.at_ms)
    return key, _json_encoder.encode(tally), headers


class EventDecoders(Struct, frozen=True):
    """The functions that decode the data of an event and of a tally. Both may raise ValueError."""

    mail_event: Callable[[bytes], MailEvent] = _mail_event_decoder.decode
    tally: Callable[[bytes], Tally] = _tally_decoder.decode


WHOLE: Final = EventDecoders()


def decode_event(
    headers: Iterable[tuple[str, bytes]], value: bytes | None, decoders: EventDecoders = WHOLE
) -> Event | Tally | None:
    """Decode a record of mail.events. Return None if this version does not know the record's type.

    Raises CodecError if the data of a known type cannot be decoded.
    """
    # If a header occurs twice, the first header is used, as in type_of() (event_records.py).
    found = {name: content or b"" for name, content in reversed([*headers])}
    kind = found.get("ce_type", b"").decode("utf-8", "replace")
    try:
        if kind == TALLY_TYPE:
            return decoders.tally(value or b"")
        if not kind.startswith(TYPE_PREFIX):
            return None
        word = kind.removeprefix(TYPE_PREFIX)
        if word not in EventType._value2member_map_:
            return None
        return Event(
            id=found.get("ce_id", b"").decode("utf-8", "replace"),
            type=EventType(word),
            subject=found.get("ce_subject", b"").decode("utf-8", "replace"),
            data=decoders.mail_event(value or b""),
        )
    except _UNREADABLE as error:
        raise CodecError(f"event {kind}: {error}") from None


def is_in_transaction(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Return True if a record with these headers was written in a transaction."""
    return any(name == IN_TRANSACTION[0] for name, _ in headers)


def encode_returned(returned: Returned) -> tuple[bytes, Headers]:
    """Return the key and headers of a record of mail.returned. Its value is the message as it was
    received.

    The key is the name of the client, so that the mail of one client can fill only one partition.
    """
    return returned.client.encode(), [("m", _msgpack_encoder.encode(returned))]


def decode_returned(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Returned:
    """Return the data of a record of mail.returned. Raises CodecError."""
    meta = next((content for name, content in headers if name == "m"), None)
    if meta is None or value is None:
        raise CodecError("not returned mail: the record has no header 'm' or no value")
    try:
        return _returned_decoder.decode(meta)
    except _UNREADABLE as error:
        raise CodecError(f"not returned mail: header 'm': {error}") from None
