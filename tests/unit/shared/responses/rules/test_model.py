"""The first line that begins with one of several expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.responses.rules.model import LineSearch, Span

PREFIX = r"[^a-z0-9\n]{0,4}"
ROWS = ["original message", "header of", r"message\W{0,8}$"]
SEARCH = LineSearch(PREFIX, ROWS)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("", None),
        ("an original message", None),
        ("original message", Span(0, 16)),
        ("one\n\n-- header of it", Span(5, 17)),
        ("header of\noriginal message", Span(0, 9)),
        ("one\n     header of", None),
        ("one\nmessage --\n", Span(4, 15)),
    ],
    ids=["empty", "not_at_a_line", "alone", "after_signs", "earlier", "too_far", "line_end"],
)
def test_the_first_line_that_begins_so_is_found(text: str, span: Span | None) -> None:
    found = SEARCH.first_in(text)
    assert found == span


@given(st.lists(st.sampled_from([*ROWS[:2], "message", "-", " ", "\n", "x"]), max_size=12))
def test_it_finds_the_line_that_a_search_for_line_beginnings_finds(pieces: list[str]) -> None:
    text = "".join(pieces)
    pattern = re.compile(f"^{PREFIX}(?:{'|'.join(ROWS)})", re.MULTILINE)
    expected = pattern.search(text)
    found = SEARCH.first_in(text)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (found.start, found.end) == (expected.start(), expected.end())
