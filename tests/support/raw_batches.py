"""Record batches as bytes, so that a test can write batches that no client library writes.

Layout: KIP-98. They are produced over a plain socket with version 7 of the Produce request, the
oldest that supports zstd. The broker's verdict is an error code.
"""

from __future__ import annotations

import gzip
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cramjam
import lz4.frame
import zstandard
from crc32c import crc32c

from tests.support.patience import PATIENCE_S

Header = tuple[bytes, bytes | None]
NO_CODEC, GZIP, SNAPPY, LZ4, ZSTD = range(5)
_NO_LEADER = {3, 5, 6}  # for a topic that was just created


class RawRecord(NamedTuple):
    """One record. `headers_octets`, if given, replaces the count and the headers."""

    value: bytes | None
    headers: Sequence[Header] = ()
    key: bytes | None = None
    headers_octets: bytes | None = None
    offset_delta: int | None = None


def varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _octets(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def encode_records(records: Sequence[RawRecord]) -> bytes:
    out: list[bytes] = []
    for number, record in enumerate(records):
        delta = number if record.offset_delta is None else record.offset_delta
        headers = record.headers_octets
        if headers is None:
            pairs = [_octets(name) + _octets(content) for name, content in record.headers]
            headers = varint(len(pairs)) + b"".join(pairs)
        times = b"\0" + varint(0) + varint(delta)
        body = times + _octets(record.key) + _octets(record.value) + headers
        out.append(varint(len(body)) + body)
    return b"".join(out)


def _snappy(content: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(content))


def _xerial(content: bytes) -> bytes:
    blocks = [_snappy(content[at : at + 32_768]) for at in range(0, len(content), 32_768)]
    head = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    return head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def _lz4(content: bytes) -> bytes:
    return bytes(lz4.frame.compress(content, block_linked=False))


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 6)


# The Java client, librdkafka (snappy) and others write batches in these forms.
COMPRESS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (NO_CODEC, bytes),
    "gzip": (GZIP, _gzip),
    "snappy": (SNAPPY, _xerial),
    "snappy-raw": (SNAPPY, _snappy),
    "lz4": (LZ4, _lz4),
    "zstd": (ZSTD, zstandard.compress),
}


def encode_batch(octets: bytes, count: int, codec: int = NO_CODEC, now_ms: int = 0) -> bytes:
    """Return a batch of `count` records whose encoding, compressed or not, is `octets`."""
    body = struct.pack(">hiqqqhii", codec, count - 1, now_ms, now_ms, -1, -1, -1, count)
    body += octets
    return struct.pack(">qiibI", 0, 9 + len(body), -1, 2, crc32c(body)) + body


def batch_of(records: Sequence[RawRecord], codec: str = "none", now_ms: int = 0) -> bytes:
    number, compress = COMPRESS[codec]
    return encode_batch(compress(encode_records(records)), len(records), number, now_ms)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def produce(bootstrap: str, topic: str, batch: bytes, partition: int = 0) -> tuple[int, int]:
    """Return Kafka's error code (0: accepted) and base offset, once the partition has a leader."""
    until = time.monotonic() + PATIENCE_S
    while True:
        error, offset = _produce_once(bootstrap, topic, batch, partition)
        if error not in _NO_LEADER or time.monotonic() > until:
            return error, offset
        time.sleep(0.05)


def _produce_once(bootstrap: str, topic: str, batch: bytes, partition: int) -> tuple[int, int]:
    host, _, port = bootstrap.rpartition(":")
    request = struct.pack(">hhi", 0, 7, 1) + _text("raw")
    request += struct.pack(">hhi", -1, -1, 15_000)
    request += struct.pack(">i", 1) + _text(topic) + struct.pack(">ii", 1, partition)
    request += struct.pack(">i", len(batch)) + batch
    with socket.create_connection((host, int(port)), PATIENCE_S) as wire:
        wire.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(wire, 4))
        answer = _receive(wire, size)
    at = 4 + 4 + 2 + len(topic) + 4 + 4
    error, offset = struct.unpack_from(">hq", answer, at)
    return error, offset


def _receive(wire: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        part = wire.recv(size - len(out))
        assert part, "the broker hung up"
        out += part
    return out
