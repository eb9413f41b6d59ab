"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from shared.plurals import counted


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "code", "", "0 codes"),
        (1, "code", "", "1 code"),
        (2, "code", "", "2 codes"),
        (1, "process", "processes", "1 process"),
        (2, "process", "processes", "2 processes"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, noun: str, plural: str, text: str) -> None:
    assert counted(number, noun, plural) == text
