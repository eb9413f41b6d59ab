"""Texts from outside on a terminal."""

from __future__ import annotations

import pytest

from cli.terminal import visible, visible_names


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shop", "shop"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\x00", "a\\nb\\x00"),
        ("\u202e", "\\u202e"),
        ("ü", "ü"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_an_empty_name_is_seen() -> None:
    assert visible_names(["", "a\tb"]) == "'', a\\tb"
