"""The alternatives of a pattern match what the pattern matches."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.responses.replies.literals import alternatives_of
from shared.responses.rules.loading import load_rules
from shared.responses.rules.model import Rules


@pytest.mark.parametrize(
    ("pattern", "alternatives"),
    [
        ("spam", ["spam"]),
        ("spam|virus|", ["spam", "virus", ""]),
        ("(a|b) full|over (c|d)", ["(a|b) full", "over (c|d)"]),
        (r"a\|b|\(|c", [r"a\|b", r"\(", "c"]),
        (r"[|]|[^]|]|[\]|]", ["[|]", "[^]|]", r"[\]|]"]),
        (r"(?:a|b)|(?=c|d)|(?<!e|f)", ["(?:a|b)", "(?=c|d)", "(?<!e|f)"]),
        # What concerns the whole pattern keeps it whole.
        (r"(a)\1|b", [r"(a)\1|b"]),
        (r"(?P<x>a)|b", [r"(?P<x>a)|b"]),
        (r"(a)(?(1)b|c)|d", [r"(a)(?(1)b|c)|d"]),
        (r"(?s:a.)|b", [r"(?s:a.)|b"]),
    ],
)
def test_a_pattern_is_taken_apart_at_its_outermost_level(
    pattern: str, alternatives: list[str]
) -> None:
    assert alternatives_of(re.compile(pattern)) == alternatives


def test_a_pattern_with_comments_stays_whole() -> None:
    assert alternatives_of(re.compile("a # b | c", re.VERBOSE)) == ["a # b | c"]


_PIECES = ["a", "b", "|", "(", ")", "(?:", "[", "]", "^", "\\|", "\\(", "[^]|]", ".", "\\b"]


@pytest.mark.filterwarnings("ignore:Possible nested set")
@given(st.lists(st.sampled_from(_PIECES), max_size=12), st.text("ab|(]^", max_size=8))
def test_a_text_matches_a_pattern_if_it_matches_an_alternative(
    pieces: list[str], text: str
) -> None:
    try:
        pattern = re.compile("".join(pieces))
    except re.error:
        return
    found = any(re.search(one, text) for one in alternatives_of(pattern))
    assert found == (pattern.search(text) is not None)


def _patterns(rules: Rules) -> list[re.Pattern[str]]:
    searches = [rule.text for rule in rules.replies]
    searches += [each for rule in rules.reasons for each in (rule.text, rule.unless)]
    for group in rules.messages.values():
        searches += [each for rule in group for each in (rule.text, rule.unless, rule.subject)]
    return [pattern for search in searches if search is not None for pattern in search.patterns]


def test_each_alternative_of_every_rule_is_an_expression_of_its_own() -> None:
    for pattern in _patterns(load_rules()):
        for one in alternatives_of(pattern):
            re.compile(one, pattern.flags & ~re.UNICODE)
