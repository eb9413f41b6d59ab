"""The three ways to read each SMTP case: at once, byte by byte, or three bytes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

Cut = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def in_threes(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 3):
        yield data[at : at + 3]


CUTS = pytest.mark.parametrize("cut", [whole, byte_by_byte, in_threes])
