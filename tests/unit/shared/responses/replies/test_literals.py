"""The literals that a pattern cannot match without."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.responses.replies.literals import Search, grams_in, required_literals


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        ("unknown user", {"unknown user"}),
        ("spam|virus", {"spam", "virus"}),
        (r"\b(no|not) such (user|mailbox)\b", {" such "}),
        (r"quota(s)?", {"quota"}),
        (r"(mail|inbox) full", {" full"}),
        (r"邮箱", {"邮箱"}),
        # An alternative without a literal: nothing is known.
        (r"spam|\d\d", set()),
        (r"\w+", set()),
        (r"(?!spam)\w+", set()),
        ("ip", set()),
    ],
)
def test_the_literals_are_the_longest_that_every_match_holds(
    pattern: str, literals: set[str]
) -> None:
    assert set(required_literals(re.compile(pattern))) == literals


def test_a_pattern_that_ignores_case_has_no_literals() -> None:
    assert required_literals(re.compile("spam", re.IGNORECASE)) == ()


PATTERNS = [r"(full|over) quota", r"quota", r"no such (user|box)|\bq\d", r"箱满|(no|un)able to box"]


@given(st.text(alphabet="noquatsch fulbxer12 箱满", max_size=60))
def test_a_search_finds_what_the_patterns_find(text: str) -> None:
    patterns = [re.compile(pattern) for pattern in PATTERNS]
    found = any(one.search(text) for one in patterns)
    search = Search(patterns)
    assert search.is_in(text) == found
    assert search.is_in(text, grams_in(text)) == found


@pytest.mark.parametrize(
    ("text", "grams"), [("", set()), ("ab", set()), ("quota", {"quo", "uot", "ota"})]
)
def test_the_grams_of_a_text_are_its_runs_of_three(text: str, grams: set[str]) -> None:
    assert grams_in(text) == grams
