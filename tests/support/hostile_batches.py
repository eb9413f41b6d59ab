"""Batches that Kafka accepts and that must not stop any service, drawn from a seed.

One case is (topic, codec, size, expansion, kind of refusal). `refused` is the expected number of
refusals: `refused` events of the client, or records on mail.refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import msgspec
from msgspec import Struct

from shared.topics import names
from tests.support.raw_batches import COMPRESS, Header, RawRecord, batch_of

MIB = 1024 * 1024
JSON = b"application/cloudevents+json"


class Hostile(Struct, frozen=True):
    """One batch for one topic, and the number of refusals it must cause."""

    name: str
    topic: str
    batch: bytes
    refused: int = 1


def _headers(count: int) -> list[Header]:
    return [(b"", b"")] * count


def _plain(value: bytes, *headers: Header) -> list[RawRecord]:
    return [RawRecord(value, headers)]


# For each name, a function that makes the records of a batch from a valid message and a Random.
KINDS: dict[str, Callable[[bytes, Random], list[RawRecord]]] = {
    "random bytes": lambda message, chance: _plain(chance.randbytes(chance.randrange(1, 2 * MIB))),
    "zeros": lambda message, chance: _plain(bytes(chance.randrange(1, 12 * MIB))),
    "expands too much": lambda message, chance: _plain(bytes(chance.randrange(34, 300) * MIB)),
    "unknown header": lambda message, chance: _plain(
        message + b"x" * chance.randrange(20 * MIB), (b"sluice-kode", b"spring")
    ),
    "too many headers": lambda message, chance: [
        RawRecord(message, _headers(chance.randrange(201, 200_000)))
    ],
    "header name not UTF-8": lambda message, chance: _plain(message, (b"sluice-\xff", b"x")),
    "structured, not JSON": lambda message, chance: _plain(
        b"[" * chance.randrange(1, MIB), (b"content-type", JSON)
    ),
    "structured, a name for each fault": lambda message, chance: _plain(
        msgspec.json.encode({f"A{number}": "" for number in range(chance.randrange(1, 100_000))}),
        (b"content-type", JSON),
    ),
    "structured, not UTF-8": lambda message, chance: _plain(
        b'{"specversion":"1.0","id":"\xff"}', (b"content-type", JSON)
    ),
    "no value": lambda message, chance: [RawRecord(None)],
    "many empty records": lambda message, chance: [RawRecord(b"")] * chance.randrange(2, 200),
    "offsets out of order": lambda message, chance: [
        RawRecord(message, offset_delta=chance.randrange(2, 1_000)),
        RawRecord(message),
    ],
}
# Kafka checks some batches only if they are compressed, and refuses some uncompressed batches
# because of their size.
_PLAIN_ONLY = {"offsets out of order"}
_COMPRESSED_ONLY = {"expands too much", "zeros", "unknown header"}
_ONE_REFUSAL = {"expands too much", "offsets out of order"}


def intake_case(kind: str, codec: str, client: str, message: bytes, seed: int) -> Hostile:
    records = KINDS[kind](message, Random(f"{kind}/{codec}/{seed}"))
    refused = 1 if kind in _ONE_REFUSAL else len(records)
    batch = batch_of(records, codec)
    return Hostile(f"{kind}, {codec}, seed {seed}", names.intake(client), batch, refused)


def intake_cases(client: str, message: bytes, seed: int) -> Iterator[Hostile]:
    """Return one case of each kind, with codec and sizes drawn from the seed."""
    chance = Random(seed)
    for kind in KINDS:
        codecs = [name for name in COMPRESS if name not in {"none", "snappy-raw"}]
        if kind in _PLAIN_ONLY:
            codecs = ["none"]
        elif kind not in _COMPRESSED_ONLY:
            codecs = list(COMPRESS)
        yield intake_case(kind, chance.choice(codecs), client, message, seed)


def internal_cases(topic: str, seed: int) -> Iterator[Hostile]:
    """Records on a topic of packs that are not packs."""
    chance = Random(f"{topic}/{seed}")
    codec = chance.choice([name for name in COMPRESS if name != "none"])
    lengths = msgspec.msgpack.encode([[_ENVELOPE, -1], [_ENVELOPE, 2]])
    not_utf_8 = msgspec.msgpack.encode([[["~~~~", *_ENVELOPE[1:]], 1]])
    for name, records in {
        "invalid UTF-8": _plain(b"x", (b"m", not_utf_8.replace(b"~~~~", b"\xff\xfe\xc3("))),
        "negative lengths": _plain(b"x", (b"m", lengths)),
        "junk": _plain(chance.randbytes(1_000), (b"m", chance.randbytes(40))),
        "no header": _plain(b"x" * chance.randrange(1_500_000)),
        "expands too much": _plain(bytes(chance.randrange(34, 300) * MIB)),
    }.items():
        yield Hostile(f"{topic}: {name}, {codec}, seed {seed}", topic, batch_of(records, codec))


_ENVELOPE = ["0" * 26, "shop", "a@b.example", "c@d.example", "<1@b>", 0, [], []]


def event_cases(seed: int) -> Iterator[Hostile]:
    """Records on mail.events that are not events; no service refuses them."""
    codec = Random(seed).choice([name for name in COMPRESS if name != "none"])
    for kind in (b"sluice.mail.delivered", b"sluice.tally"):
        for name, value in {
            "invalid UTF-8": b'{"client":"\xff","service":"\xff"}',
            "deep": b'{"x":' + b"[" * 100_000,
            "no value": None,
        }.items():
            records = [RawRecord(value, [(b"ce_type", kind)])]
            yield Hostile(f"{kind!r}: {name}, {codec}", names.EVENTS, batch_of(records, codec), 0)
    zeros = [RawRecord(bytes(300 * MIB))]
    yield Hostile(f"expands too much, {codec}", names.EVENTS, batch_of(zeros, codec), 0)
