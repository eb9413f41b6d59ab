"""A peer's text, made safe for an event, a log line or a header."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.remote_text import MAX_TEXT_BYTES, clean_text

CASES = [
    ("Ok", "Ok"),
    (b"Acc\xe8s refus\xe9", "Acc\ufffds refus\ufffd"),
    ("Acc\udce8s", "Acc\ufffds"),
    ("a\ud800b\x1b", "a\ufffdb "),
    ("caf\u00e9 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"),
    ("a\x1b[31mb\0\0c\td", "a [31mb c d"),
    ("a\r\nb\nc", "a \nb\nc"),
    ("x\u202egnp.exe", "x gnp.exe"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_peers_text_is_cleaned(text: str | bytes, expected: str) -> None:
    assert clean_text(text) == expected


@given(st.one_of(st.binary(max_size=3_000), st.text(max_size=3_000)))
def test_what_is_kept_is_short_utf8_without_control_characters(text: str | bytes) -> None:
    kept = clean_text(text)
    assert len(kept.encode("utf-8")) <= MAX_TEXT_BYTES
    assert all(char == "\n" or unicodedata.category(char) != "Cc" for char in kept)
    assert clean_text(kept) == kept
