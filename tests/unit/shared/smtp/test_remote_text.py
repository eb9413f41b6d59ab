"""A peer's text, made safe for an event, a log line or a header."""

from __future__ import annotations

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
    ("no\u200b\ufeff \u061cuser\u00a0here\U000e0041\ue000", "no   user here "),
    (
        "tr\u00e8s bien \U0001f600 \u0645\u0631\u062d\u0628\u0627",
        "tr\u00e8s bien \U0001f600 \u0645\u0631\u062d\u0628\u0627",
    ),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_peers_text_is_cleaned(text: str | bytes, expected: str) -> None:
    assert clean_text(text) == expected


@given(st.one_of(st.binary(max_size=3_000), st.text(max_size=3_000)))
def test_what_is_kept_is_short_printable_utf8(text: str | bytes) -> None:
    kept = clean_text(text)
    assert len(kept.encode("utf-8")) <= MAX_TEXT_BYTES
    assert kept.replace("\n", "").isprintable()
    assert clean_text(kept) == kept
