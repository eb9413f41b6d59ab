"""A Kafka record is read whatever bytes its header names have."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from shared.stream.header_names import allow_any_header_name, masked


class Raw(str):
    """A header name that goes out as the bytes it was made of, in Latin-1."""

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return str.encode(self, "latin-1")


def batch(headers: list[tuple[str, bytes | None]], compression: int) -> DefaultRecordBatch:
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 1_000_000)
    for number, value in enumerate((b"before", None, b"after")):
        told: list[Any] = headers if value is None else [("plain", b"1")]
        builder.append(number, 1_000 + number, b"key", value or b"meant", told)
    return DefaultRecordBatch(builder.build())


@pytest.mark.parametrize("compression", [0, 3], ids=["plain", "lz4"])
def test_a_record_with_such_a_name_is_read_and_so_are_those_around_it(compression: int) -> None:
    allow_any_header_name()
    headers: list[tuple[str, bytes | None]] = [
        ("gut", b"\xff"),
        (Raw("sluice-\xff\xfe"), b"value"),
        (Raw("\xc3\xa4"), None),
        (Raw(""), b""),
    ]
    records = list(batch(headers, compression))
    assert [(record.offset, record.value) for record in records] == [
        (0, b"before"),
        (1, b"meant"),
        (2, b"after"),
    ]
    assert records[1].headers == [("gut", b"\xff"), ("sluice-??", b"value"), ("ä", None), ("", b"")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain", b"plain"),
        ("ä€😀".encode(), "ä€😀".encode()),
        (b"\xff", b"?"),
        (b"a\xc3", b"a?"),
        (b"\xed\xa0\x80", b"???"),
        (b"\xc0\x80x", b"??x"),
    ],
)
def test_only_bytes_that_are_not_utf_8_are_masked(name: bytes, shown: bytes) -> None:
    assert masked(name) == shown
    assert len(masked(name)) == len(name)
