"""Batches are decompressed within a limit, in every codec and framing that producers use."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from random import Random

import cramjam
import lz4.frame
import pytest
import zstandard

from shared.stream.kafka_python.decompress import (
    GZIP,
    LZ4,
    SNAPPY,
    ZSTD,
    DecompressError,
    decompress,
)

Compress = Callable[[bytes], bytes]
LIMIT = 1024 * 1024
TEXT = b"".join(b"line %d of a newsletter\r\n" % number for number in range(20_000))
XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)


def snappy_raw(content: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(content))


def snappy_xerial(content: bytes, header: bytes = XERIAL) -> bytes:
    blocks = [snappy_raw(content[at : at + 32_768]) for at in range(0, len(content), 32_768)]
    return header + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def snappy_little_endian(content: bytes) -> bytes:
    return snappy_xerial(content, b"\x82SNAPPY\x00" + struct.pack("<ii", 1, 1))


def snappy_two_streams(content: bytes) -> bytes:
    return snappy_xerial(content[:100_000]) + snappy_xerial(content[100_000:])


def gzip_two_members(content: bytes) -> bytes:
    return gzip.compress(content[:1000]) + gzip.compress(content[1000:]) + b"\0" * 9


def lz4_frame(content: bytes) -> bytes:
    return bytes(lz4.frame.compress(content, block_linked=False))


def lz4_two_frames(content: bytes) -> bytes:
    return lz4_frame(content[:1000]) + lz4_frame(content[1000:])


def lz4_without_size(content: bytes) -> bytes:
    return bytes(lz4.frame.compress(content, block_linked=False, store_size=False))


def zstd_stream(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(content)


def zstd_two_frames(content: bytes) -> bytes:
    return zstandard.compress(content[:1000]) + zstandard.compress(content[1000:])


FORMS: list[tuple[int, Compress]] = [
    (GZIP, gzip.compress),
    (GZIP, gzip_two_members),
    (SNAPPY, snappy_raw),
    (SNAPPY, snappy_xerial),
    (SNAPPY, snappy_little_endian),
    (SNAPPY, snappy_two_streams),
    (LZ4, lz4_frame),
    (LZ4, lz4_two_frames),
    (LZ4, lz4_without_size),
    (ZSTD, zstandard.compress),
    (ZSTD, zstd_stream),
    (ZSTD, zstd_two_frames),
]


@pytest.mark.parametrize(("codec", "compress"), FORMS)
def test_what_is_within_the_limit_is_whole(codec: int, compress: Compress) -> None:
    data = compress(TEXT)
    assert decompress(codec, data, LIMIT) == TEXT
    assert decompress(codec, data, len(TEXT)) == TEXT


@pytest.mark.parametrize(("codec", "compress"), FORMS)
def test_one_byte_over_the_limit_is_too_large(codec: int, compress: Compress) -> None:
    data = compress(TEXT)
    with pytest.raises(DecompressError, match="larger than"):
        decompress(codec, data, len(TEXT) - 1)


@pytest.mark.parametrize(("codec", "compress"), FORMS)
def test_a_bomb_costs_no_more_than_a_few_times_the_limit(codec: int, compress: Compress) -> None:
    data = compress(bytes(64 * LIMIT))
    tracemalloc.start()
    try:
        with pytest.raises(DecompressError, match="larger than"):
            decompress(codec, data, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # If the bomb itself is large (snappy), one copy of it is acceptable.
    assert peak < 4 * LIMIT + 2 * len(data)


@pytest.mark.parametrize("compress", [lz4_frame, lz4_without_size])
def test_a_small_lz4_frame_costs_its_size_and_not_the_limit(compress: Compress) -> None:
    data = compress(TEXT)
    decompress(LZ4, data, LIMIT)
    tracemalloc.start()
    try:
        decompress(LZ4, data, 64 * LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(TEXT)


@pytest.mark.parametrize("claimed", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 1 << 62])
def test_an_lz4_frame_that_announces_another_size_is_an_error(claimed: int) -> None:
    data = bytearray(lz4_frame(TEXT))
    data[6:14] = claimed.to_bytes(8, "little")
    with pytest.raises(DecompressError):
        decompress(LZ4, bytes(data), LIMIT)


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_junk_is_an_error_and_nothing_else(codec: int) -> None:
    chance = Random(1)
    good: dict[int, Compress] = {
        GZIP: gzip.compress,
        SNAPPY: snappy_xerial,
        LZ4: lz4_frame,
        ZSTD: zstandard.compress,
    }
    data = good[codec](TEXT)
    for number in range(300):
        broken = bytearray(data[: chance.randrange(len(data))] if number % 2 else data)
        for _ in range(chance.randrange(1, 4)):
            if broken:
                broken[chance.randrange(min(len(broken), 64))] = chance.randrange(256)
        with suppress(DecompressError):
            assert len(decompress(codec, bytes(broken), LIMIT)) <= LIMIT


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (GZIP, gzip.compress(b"") * 100_000),
        (LZ4, lz4_frame(b"") * 100_000),
        (SNAPPY, XERIAL + (b"\0\0\0\1\0") * 1_000_000),
    ],
    ids=["gzip members", "lz4 frames", "snappy blocks"],
)
def test_more_parts_than_a_producer_writes_are_an_error(codec: int, data: bytes) -> None:
    with pytest.raises(DecompressError, match="more than"):
        decompress(codec, data, LIMIT)


def test_a_codec_that_kafka_does_not_have_is_an_error() -> None:
    with pytest.raises(DecompressError, match="compression type 7"):
        decompress(7, b"", LIMIT)
