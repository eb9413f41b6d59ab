"""The output of commands on a terminal: printable texts, tables, and a progress bar.

Owns: the layout of every table that a command prints. A table is printed in columns if they fit the
width of the terminal, otherwise as a few lines per row. Counts and identifiers are never cut and
never wrapped; only texts are wrapped. An identifier that is wider than the terminal is printed
whole, and the terminal wraps it.

The progress bar is written to standard error, and only if standard error is a terminal. So the bar
writes nothing to a log, a pipe or the output of a cron job, not even an empty line.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Final

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress

# This width is used if there is no terminal and COLUMNS is not set.
PIPED_WIDTH: Final = 200
_GAP: Final = "  "
_MIN_TEXT_WIDTH: Final = 24
_MARGIN: Final = "    "


class Kind(Enum):
    """The content of a column: identifiers, numbers (aligned right), or texts that may wrap."""

    KEY = "key"
    COUNT = "count"
    TEXT = "text"


class Column(Struct, frozen=True):
    """A column of a table."""

    heading: str
    kind: Kind = Kind.KEY


def visible(text: str) -> str:
    """Return the text on one line, with unprintable characters (ESC, newline, U+202E) escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def escape_unwritable(as_json: bool) -> None:
    """Escape letters that the output's charset does not have. JSON output is always UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if as_json else None, errors="backslashreplace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def visible_names(names: Iterable[str]) -> str:
    """Return the names on one line, separated by commas; an empty name becomes two quotes."""
    return ", ".join(visible(each) or "''" for each in names)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a progress bar that is removed when the block ends."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


Rows = Sequence[Sequence[str]]


def known_width() -> int | None:
    """Return the width of the terminal, or the value of COLUMNS; None if neither exists."""
    is_known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return shutil.get_terminal_size().columns if is_known else None


def terminal_width() -> int:
    """Return the width that a table may have, in characters."""
    return known_width() or PIPED_WIDTH


def lay_out(columns: Sequence[Column], rows: Rows, width: int) -> list[str]:
    """Return the lines of a table, with its headings first; each cell becomes printable text."""
    rows = [[visible(text) for text in row] for row in rows]
    widths = [
        max(cell_len(text) for text in (column.heading, *(row[place] for row in rows)))
        for place, column in enumerate(columns)
    ]
    spare = width - sum(widths) - len(_GAP) * (len(columns) - 1)
    texts = [place for place, column in enumerate(columns) if column.kind is Kind.TEXT]
    if spare < 0 and texts:
        widest = max(texts, key=widths.__getitem__)
        least = max(_MIN_TEXT_WIDTH, cell_len(columns[widest].heading))
        if widths[widest] + spare >= least:
            widths[widest] += spare
            spare = 0
    if spare < 0:
        return _stacked(columns, rows, width)
    heading = [column.heading for column in columns]
    return [line for row in (heading, *rows) for line in _columns(columns, widths, row)]


def _columns(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> list[str]:
    """Return one row as a line, or as several lines if a text is wrapped."""
    cells = [
        textwrap.wrap(text, size, break_long_words=False) or [""]
        if column.kind is Kind.TEXT
        else [text]
        for column, size, text in zip(columns, widths, row, strict=True)
    ]
    lines = []
    for number in range(max(map(len, cells))):
        parts = []
        for column, size, cell in zip(columns, widths, cells, strict=True):
            text = cell[number] if number < len(cell) else ""
            space = " " * (size - cell_len(text))
            parts.append(space + text if column.kind is Kind.COUNT else text + space)
        lines.append(_GAP.join(parts).rstrip())
    return lines


def _stacked(columns: Sequence[Column], rows: Rows, width: int) -> list[str]:
    """Return each row as its identifiers, followed by the other cells with their headings."""
    keys = [place for place, column in enumerate(columns) if column.kind is Kind.KEY]
    others = [place for place in range(len(columns)) if place not in keys]
    lines = _joined([columns[place].heading for place in keys], " /", width)
    for row in rows:
        identifiers = [row[place] for place in keys]
        while len(identifiers) > 1 and not identifiers[-1]:
            identifiers.pop()
        lines += _joined([each or "-" for each in identifiers], " /", width)
        named = [f"{columns[place].heading} {row[place]}" for place in others if row[place]]
        inner = width - len(_MARGIN)
        lines += [_MARGIN + line for line in _joined(named, ",", inner)]
    return lines


def _joined(parts: Sequence[str], separator: str, width: int) -> list[str]:
    """Join the parts into lines. A line is broken between two parts, or between two words of a long
    part."""
    lines: list[str] = []
    for place, part in enumerate(parts):
        end = separator if place < len(parts) - 1 else ""
        if lines and cell_len(lines[-1] + part + end) < width:
            lines[-1] += f" {part}{end}"
        elif cell_len(part + end) <= width:
            lines.append(part + end)
        else:
            lines += textwrap.wrap(part, width, break_long_words=False, break_on_hyphens=False)
            lines[-1] += end
    return lines
