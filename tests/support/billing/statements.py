"""Statements that are computed in memory; the streamed statements must be equal to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import structs

from services.billing.core.cells import Cell, decode_cell, encode_cell
from services.billing.core.closing.lines import Line, cell_of, encode_line, line_of
from services.billing.core.closing.statement import Statement

MonthCells = Mapping[str, Mapping[str, int]]


class BytesText:
    """Lines in memory, given in pieces of this size."""

    def __init__(self, text: bytes, piece: int = 7) -> None:
        self._text = text
        self._piece = piece

    def pieces(self) -> Iterator[bytes]:
        for begin in range(0, len(self._text), self._piece):
            yield self._text[begin : begin + self._piece]


def encode_lines(lines: Iterable[Line]) -> bytes:
    """Return the canonical form."""
    return b"".join(encode_line(line) for line in sorted(lines))


def totals(lines: Iterable[Line]) -> dict[str, int]:
    """Return the sums by counter, without the details."""
    found: dict[str, int] = {}
    for line in lines:
        if not line.detail:
            found[line.counter] = found.get(line.counter, 0) + line.count
    return dict(sorted(found.items()))


def lines_of(month: str, cells: MonthCells, stated: MonthCells) -> list[Line]:
    """Return the statement's lines for `month`, from all cells and all earlier statements."""
    found = []
    for each in sorted(name for name in {*cells, *stated} if name <= month):
        now, before = _by_cell(cells.get(each, {})), _by_cell(stated.get(each, {}))
        for cell in now.keys() | before.keys():
            if number := now.get(cell, 0) - before.get(cell, 0):
                found.append(line_of(each, cell, number))
    return sorted(found)


def add_stated(stated: dict[str, dict[str, int]], lines: Iterable[Line]) -> None:
    """Add a statement's lines to the sums of the statements about each month."""
    for line in lines:
        cells = stated.setdefault(line.month, {})
        name = encode_cell(cell_of(line))
        cells[name] = cells.get(name, 0) + line.count


def statement_of(month: str, lines: Iterable[Line], **changes: Any) -> Statement:
    """Return the header of these lines."""
    found = sorted(lines)
    own = [line for line in found if line.month == month]
    others = [line for line in found if line.month != month]
    statement = Statement(
        month=month,
        time_zone="UTC",
        closed_at_ms=1,
        closed_by="command",
        complete=True,
        reason="",
        log="log-1",
        offsets={"0": 10},
        lines=len(found),
        adjustments=len(others),
        totals=totals(own),
        adjusted=totals(others),
        sha256=hashlib.sha256(encode_lines(found)).hexdigest(),
        previous="",
        parts=1,
        token="t",
    )
    return structs.replace(statement, **changes)


def _by_cell(cells: Mapping[str, int]) -> dict[Cell, int]:
    """Return the cells by value, because their names may have an older, shorter form."""
    found: dict[Cell, int] = {}
    for name, number in cells.items():
        cell = decode_cell(name)
        found[cell] = found.get(cell, 0) + number
    return found
