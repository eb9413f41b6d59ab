"""The tables that commands print, in terminals of several widths; texts from outside."""

from __future__ import annotations

import pytest

from cli.terminal import Column, Kind, lay_out, visible, visible_names

CLIENT, MAILING = "c" * 30, "m" * 40
COLUMNS = (
    Column("client"),
    Column("mailing ID"),
    Column("billed", Kind.COUNT),
    Column("received", Kind.COUNT),
    Column("note", Kind.TEXT),
)


@pytest.mark.parametrize(
    ("rows", "width", "lines"),
    [
        pytest.param(
            [("acme", "M-1", "12", "123456789", "agree")],
            80,
            [
                "client  mailing ID  billed   received  note",
                "acme    M-1             12  123456789  agree",
            ],
            id="columns if they fit",
        ),
        pytest.param(
            [("acme", "M-1", "12", "3", "a note of some words that is wrapped, not cut")],
            64,
            [
                "client  mailing ID  billed  received  note",
                "acme    M-1             12         3  a note of some words that",
                "                                      is wrapped, not cut",
            ],
            id="a text is wrapped",
        ),
        pytest.param(
            [(CLIENT, MAILING, "12", "123456789", ""), ("bank", "", "0", "0", "agree")],
            80,
            [
                "client / mailing ID",
                f"{CLIENT} / {MAILING}",
                "    billed 12, received 123456789",
                "bank",
                "    billed 0, received 0, note agree",
            ],
            id="a few lines per row",
        ),
        pytest.param(
            [(CLIENT, MAILING, "12", "123456789", "")],
            30,
            [
                "client / mailing ID",
                CLIENT + " /",
                MAILING,
                "    billed 12,",
                "    received 123456789",
            ],
            id="an identifier is never cut",
        ),
        pytest.param([], 80, ["client  mailing ID  billed  received  note"], id="no rows"),
    ],
)
def test_a_table_is_laid_out_by_the_width(
    rows: list[tuple[str, ...]], width: int, lines: list[str]
) -> None:
    assert lay_out(COLUMNS, rows, width) == lines


def test_a_cell_cannot_move_the_cursor_or_make_rows_of_its_own() -> None:
    rows = [["shop", "a\nbank  manual\x1b[31m\u202etxt"]]
    lines = lay_out([Column("client"), Column("note", Kind.TEXT)], rows, 100)
    assert lines[1:] == ["shop    a\\nbank  manual\\x1b[31m\\u202etxt"]


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
