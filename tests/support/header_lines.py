"""A plain message, and the same message with one more line in its header."""

from __future__ import annotations

from msgspec.structs import replace

from shared.topics.records import Facts

GOOD = (
    b"From: News <news@shop.example>\r\nTo: max@kunde.example\r\n"
    b"Message-ID: <1@shop.example>\r\nSubject: Order\r\n\r\nHello\r\n"
)


def with_line(line: bytes, content: bytes = GOOD) -> bytes:
    return content.replace(b"Subject:", line + b"\r\nSubject:", 1)


def without_sizes(facts: Facts) -> Facts:
    return replace(facts, size_bytes=0, header_bytes=0)
