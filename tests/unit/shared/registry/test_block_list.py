"""Block-list patterns match as fnmatch does, with literal brackets, and without backtracking."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.registry.block_list import blocked_by

# Few characters, so that patterns match often.
PATTERNS = st.text("ab@*?[]!.", max_size=12)
ADDRESSES = st.text("ab@[]!.", max_size=14)
MAX_OCTETS = 320


def matches_by_fnmatch(address: str, pattern: str) -> bool:
    return re.match(fnmatch.translate(pattern.replace("[", "[[]")), address) is not None


@given(ADDRESSES, st.lists(PATTERNS, max_size=6))
def test_the_first_pattern_that_fnmatch_finds_is_found(address: str, patterns: list[str]) -> None:
    expected = next((one for one in patterns if matches_by_fnmatch(address, one)), "")
    assert blocked_by(address, patterns) == expected


@given(ADDRESSES, PATTERNS)
def test_case_does_not_matter(address: str, pattern: str) -> None:
    blocked = blocked_by(address, [pattern])
    assert blocked_by(address.upper(), [pattern]) == blocked
    assert bool(blocked_by(address, [pattern.upper()])) == bool(blocked)


def by_hand(address: str, pattern: str) -> bool:
    """The same, character by character, with backtracking."""
    if not pattern:
        return not address
    if pattern[0] == "\\":
        return address[:1] == pattern[1] and by_hand(address[1:], pattern[2:])
    if pattern[0] == "*":
        return any(by_hand(address[at:], pattern[1:]) for at in range(len(address) + 1))
    is_one = address[:1] == pattern[0] or (pattern[0] == "?" and bool(address))
    return is_one and by_hand(address[1:], pattern[1:])


ESCAPING = st.lists(st.sampled_from(["a", "@", "*", "?", "\\*", "\\?", "*@"]), max_size=7).map(
    "".join
)


@given(st.text("a@*?", max_size=7), st.lists(ESCAPING, max_size=4))
def test_a_star_or_a_question_mark_after_a_backslash_is_itself(
    address: str, patterns: list[str]
) -> None:
    expected = next((one for one in patterns if by_hand(address, one)), "")
    assert blocked_by(address, patterns) == expected


@pytest.mark.parametrize(
    ("pattern", "blocked", "not_blocked"),
    [
        (r"a\*b@x.example", "a*b@x.example", "acb@x.example"),
        (r"what\?@*", "what?@x.example", "whats@x.example"),
        (r"\*@x.example", "*@x.example", "a@x.example"),
        (r"\**@x.example", "*a@x.example", "a@x.example"),
    ],
)
def test_literal_wildcards_block_one_address_only(
    pattern: str, blocked: str, not_blocked: str
) -> None:
    assert blocked_by(blocked, [pattern]) == pattern
    assert blocked_by(not_blocked, [pattern]) == ""


# With backtracking, each of these would take longer than the whole suite.
@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 9 + "*b",
        "*a" * 100 + "*b",
        "*?" * 100 + "*b",
        "*" * 200 + "b",
        "*" + "a" * 100 + "*" + "?" * 100 + "*b",
        "a*a*a*a*a*a*a*a*a*@*b",
    ],
)
def test_many_stars_do_not_try_every_division_of_the_address(pattern: str) -> None:
    address = "a" * (MAX_OCTETS - 10) + "@a.example"
    assert blocked_by(address, [pattern] * 100) == ""
    assert blocked_by(address + "b", ["x", pattern]) == pattern


@pytest.mark.parametrize("text", ["b.example", "", "*", "@b.example"])
def test_a_pattern_for_a_domain_needs_an_at_sign(text: str) -> None:
    assert bool(blocked_by(text, ["*@b.example"])) == ("@" in text)
