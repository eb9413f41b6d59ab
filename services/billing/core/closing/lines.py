"""The lines of a statement, their canonical form, which is hashed, and the stores of their parts.

The functions process one line or one part at a time, because a month may have more lines than fit
into memory. In production, PartFile (edge/temporary_files.py) stores the parts of statements and
the chunks of checkpoints. The page docs/billing.md describes the canonical form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from services.billing.core.cells import Cell


class KeepsParts(Protocol):
    """Stores parts. The parts exist as long as this object is referenced."""

    def add(self, part: bytes) -> int:
        """Store a part, and return its number."""
        ...

    def get(self, number: int) -> bytes:
        """Return the part with this number. Thread-safe."""
        ...


class Line(Struct, frozen=True, array_like=True, order=True):
    """One count. `month` is the month of the counted events. If `month` is earlier than the month
    of the statement, the line is an adjustment. An adjustment may be negative after a rebuild."""

    month: str
    client: str
    mailing_id: str
    sub_client: str
    day: str
    counter: str
    detail: str
    count: int


class LinesText(Protocol):
    """Lines in the canonical form. The lines may be read any number of times."""

    def pieces(self) -> Iterator[bytes]:
        """Return the bytes, in pieces of any size."""
        ...


class PartsInMemory:
    """Stores the parts in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> int:
        """Store a part, and return its number."""
        self._parts.append(part)
        return len(self._parts) - 1

    def get(self, number: int) -> bytes:
        """Return the part with this number."""
        return self._parts[number]


_encoder: Final = msgspec.json.Encoder()
_line: Final = msgspec.json.Decoder(Line)
_LONGEST_LINE: Final = 1024 * 1024


def line_of(month: str, cell: Cell, count: int) -> Line:
    """Return the line with the count of a cell."""
    return Line(
        month,
        cell.client,
        cell.mailing_id,
        cell.sub_client,
        cell.day,
        cell.counter,
        cell.detail,
        count,
    )


def cell_of(line: Line) -> Cell:
    """Return the cell whose count the line has."""
    return Cell(line.client, line.mailing_id, line.sub_client, line.counter, line.day, line.detail)


def encode_line(line: Line) -> bytes:
    """Return the line as a JSON array that ends with LF."""
    return _encoder.encode(line) + b"\n"


def raw_lines(text: LinesText) -> Iterator[bytes]:
    """Yield each line with its LF. The last line may have no LF. Raises ValueError for a line that
    is too long."""
    rest = b""
    for piece in text.pieces():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f"a line is longer than {_LONGEST_LINE} bytes")
    if rest:
        yield rest


def decode_lines(text: LinesText) -> Iterator[Line]:
    """Yield the decoded lines. Raises msgspec.MsgspecError, ValueError, RecursionError."""
    decode = _line.decode
    for raw in raw_lines(text):
        yield decode(raw)


def sha256_of(text: LinesText) -> str:
    """Return the SHA-256 of the lines. The header contains this SHA-256."""
    hashed = hashlib.sha256()
    for piece in text.pieces():
        hashed.update(piece)
    return hashed.hexdigest()


class Sums:
    """Computes the sums that a header contains. The lines are added one by one."""

    def __init__(self, month: str) -> None:
        self._month = month
        self.lines = 0
        self.adjustments = 0
        self._own: dict[str, int] = {}
        self._adjusted: dict[str, int] = {}

    @property
    def totals(self) -> dict[str, int]:
        """Return the sum of each counter, without the adjustments."""
        return dict(sorted(self._own.items()))

    @property
    def adjusted(self) -> dict[str, int]:
        """Return the sum of the adjustments of each counter."""
        return dict(sorted(self._adjusted.items()))

    def add(self, line: Line) -> None:
        """Add the next line."""
        self.lines += 1
        into = self._own
        if line.month != self._month:
            self.adjustments += 1
            into = self._adjusted
        if not line.detail:
            into[line.counter] = into.get(line.counter, 0) + line.count


def in_parts(lines: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield parts of at most `most` bytes that consist of whole lines. A longer line becomes a
    separate part."""
    part = bytearray()
    for line in lines:
        if part and len(part) + len(line) > most:
            yield bytes(part)
            part.clear()
        part += line
    if part:
        yield bytes(part)
