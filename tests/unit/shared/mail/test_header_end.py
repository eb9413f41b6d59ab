"""Where the header of a message ends, whatever its line ends."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mail.header_end import header_end

EMPTY_LINE = re.compile(rb"\n\r?\n")
BEGINS_EMPTY = re.compile(rb"\r?\n")


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", b"A: 1\r\nB: 2\r\n"),
        (b"A: 1\nB: 2\n\nbody\n\r\n", b"A: 1\nB: 2\n"),
        (b"A: 1\n\r\nbody\n\n", b"A: 1\n"),
        (b"A: 1\r\n\nbody\r\n\r\n", b"A: 1\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n"),
        (b"A: 1", b"A: 1"),
        (b"\r\nbody: no field\r\n\r\n", b""),
        (b"\nbody: no field\n\n", b""),
        (b"", b""),
    ],
)
def test_the_header_ends_before_the_first_empty_line(content: bytes, header: bytes) -> None:
    assert content[: header_end(content)] == header


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"A: 1"])).map(b"".join))
def test_any_bytes_have_the_header_that_a_reader_of_lines_finds(content: bytes) -> None:
    found = EMPTY_LINE.search(content)
    expected = found.start() + 1 if found is not None else len(content)
    assert header_end(content) == (0 if BEGINS_EMPTY.match(content) else expected)
