"""The records of a Kafka batch are read within bounds, whatever the batch contains."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from shared.stream.kafka_python.batches import MAX_HEADERS, BoundedBatch, masked
from shared.stream.kafka_python.decompress import DecompressError

NO_CODEC, LZ4 = 0, 3


class Raw(str):
    """A header name that is sent as its bytes in Latin-1."""

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return str.encode(self, "latin-1")


def build(headers: list[tuple[Any, bytes | None]], compression: int = NO_CODEC) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 1_000_000)
    for number, value in enumerate((b"before", None, b"after")):
        own: list[Any] = headers if value is None else [("plain", b"1")]
        builder.append(number, 1_000 + number, b"key", value or b"meant", own)
    found: bytearray = builder.build()
    return found


@pytest.mark.parametrize("compression", [NO_CODEC, LZ4], ids=["plain", "lz4"])
def test_a_header_name_that_is_not_utf_8_is_masked(compression: int) -> None:
    headers: list[tuple[Any, bytes | None]] = [
        ("gut", b"\xff"),
        (Raw("sluice-\xff\xfe"), b"value"),
        (Raw("\xc3\xa4"), None),
        (Raw(""), b""),
    ]
    records = list(BoundedBatch(build(headers, compression)))
    assert [(record.offset, record.value) for record in records] == [
        (0, b"before"),
        (1, b"meant"),
        (2, b"after"),
    ]
    assert records[1].headers == [("gut", b"\xff"), ("sluice-??", b"value"), ("ä", None), ("", b"")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain", "plain"),
        ("ä€😀".encode(), "ä€😀"),
        (b"\xff", "?"),
        (b"a\xc3", "a?"),
        (b"\xed\xa0\x80", "???"),
        (b"\xc0\x80x", "??x"),
    ],
)
def test_only_bytes_that_are_not_utf_8_are_masked(name: bytes, shown: str) -> None:
    assert masked(name) == shown


@pytest.mark.parametrize("compression", [NO_CODEC, LZ4], ids=["plain", "lz4"])
def test_a_batch_is_read_as_kafka_python_reads_it(compression: int) -> None:
    octets = build([("a", b"1"), ("b", None)], compression)
    ours, theirs = BoundedBatch(octets), DefaultRecordBatch(octets)
    assert ours.validate_crc()
    assert [repr(record) for record in ours] == [repr(record) for record in theirs]


@pytest.mark.parametrize("count", [MAX_HEADERS - 1, MAX_HEADERS, MAX_HEADERS + 1, 100_000])
def test_of_many_headers_the_first_are_kept_and_the_next_record_is_read(count: int) -> None:
    records = list(BoundedBatch(build([("", b"")] * count)))
    assert [record.value for record in records] == [b"before", b"meant", b"after"]
    assert len(records[1].headers) == min(count, MAX_HEADERS)


def test_kafka_python_does_not_bound_headers_nor_mask_their_names() -> None:
    """If this fails, the header handling of BoundedBatch can be removed."""
    assert len(list(DefaultRecordBatch(build([("", b"")] * 100_000)))[1].headers) == 100_000
    with pytest.raises(CorruptRecordError):
        list(DefaultRecordBatch(build([(Raw("\xff"), b"")])))


def with_count(octets: bytes | bytearray, count: int) -> bytes:
    """Return the batch with another number of records in its header."""
    changed = bytearray(octets)
    struct.pack_into(">i", changed, BoundedBatch.HEADER_STRUCT.size - 4, count)
    return bytes(changed)


def one_record(record: bytes) -> bytes:
    return with_count(bytes(build([])[: BoundedBatch.HEADER_STRUCT.size]) + record, 1)


@pytest.mark.parametrize(
    "octets",
    [
        with_count(build([]), 4),
        with_count(build([]), 2),
        bytes(build([]))[:-3],
        one_record(b""),
        one_record(b"\x01"),  # a length of -1
        one_record(b"\x0c\x00\x00\x00\x01\x01"),  # no headers
        one_record(b"\x0c\x00\x00\x00\x01\x01\x01"),  # -1 headers
        one_record(b"\x10\x00\x00\x00\x01\x01\x02\x01\x00"),  # a header without a name
        one_record(b"\x0c\x00\x00\x00\xfe\xff\xff\xff\x0f\x01\x00"),  # a key of 2 GiB
        one_record(b"\x0e\x00\x00\x00\x01\x01\x00\x00"),  # longer than necessary
        one_record(b"\xff" * 30),  # not a varint
    ],
)
def test_records_that_do_not_add_up_are_a_corrupt_record_error(octets: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        list(BoundedBatch(octets))


def test_an_unknown_codec_is_a_decompress_error() -> None:
    octets = build([])
    struct.pack_into(">h", octets, BoundedBatch.ATTRIBUTES_OFFSET, 7)
    with pytest.raises(DecompressError, match="type 7"):
        list(BoundedBatch(octets))


@pytest.mark.parametrize(
    ("delta", "count", "last"), [(2, 3, 2), (2, 2, 0), (-5, -4, 0), (2_000_000_000, 3, 0)]
)
def test_the_end_of_a_damaged_batch_is_believed_where_its_counts_agree(
    delta: int, count: int, last: int
) -> None:
    octets = bytearray(with_count(build([]), count))
    struct.pack_into(">i", octets, BoundedBatch.ATTRIBUTES_OFFSET + 2, delta)
    assert BoundedBatch(octets).last_believable_offset == last


@pytest.mark.parametrize(
    ("last", "names"),
    [
        (None, ["a", "b", "a", "c"]),
        ("a", ["a"]),
        ("b", ["a", "b"]),
        ("c", ["a", "b", "a", "c"]),
        ("d", ["a", "b", "a", "c"]),
    ],
)
def test_headers_after_the_last_wanted_one_are_not_read(last: str | None, names: list[str]) -> None:
    batch = BoundedBatch(build([("a", b"1"), ("b", b"x" * 300), ("a", b"2"), ("c", b"")]))
    batch.last_header = last
    record = list(batch)[1]
    assert [name for name, _ in record.headers] == names
