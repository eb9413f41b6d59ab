"""The chain of statements on the topic billing.statements. It decides which records are statements.

Any process may try to close a month, even a process that was paused for a day. The order of the
records decides which attempt is valid. A header is valid if three conditions are met. Its field
`previous` has the digest of the last valid header, its month is later than the month of the last
valid header, and all its lines exist. So if several processes try to close a month, all readers
find the same valid attempt. This decision never changes, because each attempt has its own keys, and
compaction removes no attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Final

import msgspec
from msgspec import Struct

from services.billing.core.closing.lines import (
    KeepsParts,
    Line,
    LinesText,
    PartsInMemory,
    decode_lines,
    sha256_of,
)
from services.billing.core.closing.statement import Statement, decode_statement, digest
from services.billing.core.month import is_month

PREFIX: Final = "statement/"
# A record of the topic may have up to 8 MB, but a batch of the producer may have only 1 MB.
PART_BYTES: Final = 512 * 1024
MAX_PARTS: Final = 10_000  # 5 GB


class KeptText(Struct, frozen=True):
    """Lines in the canonical form. The parts of their text are stored in `kept` under the numbers
    in `numbers`."""

    kept: KeepsParts
    numbers: tuple[int, ...]

    def pieces(self) -> Iterator[bytes]:
        """Return the parts in order."""
        return map(self.kept.get, self.numbers)


class Closed(Struct, frozen=True):
    """A valid statement, and its lines in the canonical form."""

    statement: Statement
    text: LinesText
    offset: int

    def lines(self) -> Iterator[Line]:
        """Return the decoded lines."""
        return decode_lines(self.text)

    def adjustments(self) -> Iterator[Line]:
        """Yield the lines about earlier months. These lines come first in the canonical form."""
        own = self.statement.month
        return takewhile(lambda line: line.month < own, self.lines())

    def stated(self, month: str) -> Iterator[Line]:
        """Yield the lines about one month. These lines are consecutive."""
        own = self.statement.month
        if month > own or (month < own and not self.statement.adjustments):
            return
        for line in self.lines():
            if line.month == month:
                yield line
            elif line.month > month:
                return


def header_key(month: str, token: str) -> bytes:
    """Return the key of a header's record."""
    return f"{PREFIX}{month}/{token}".encode()


def part_key(month: str, token: str, number: int) -> bytes:
    """Return the key of the record that holds this part of the lines. Parts are numbered from 0."""
    return f"{PREFIX}{month}/{token}/{number}".encode()


class Chain:
    """Finds the valid statements in the records of the topic. The records must be added in their
    order."""

    def __init__(self, kept: KeepsParts | None = None) -> None:
        self._kept = kept or PartsInMemory()
        self._parts: dict[str, int] = {}
        self.closed: dict[str, Closed] = {}
        # The offsets of faulty records and of invalid headers, each with the reason. The header of
        # a later attempt to close a month is invalid.
        self.void: list[tuple[int, str]] = []
        # For each month with an invalid header, the reason why the last invalid header is not
        # valid. A closed month may also have invalid headers.
        self.void_months: dict[str, str] = {}

    @property
    def last(self) -> str:
        """Return the last closed month. Return "" if no month is closed."""
        return max(self.closed, default="")

    @property
    def last_digest(self) -> str:
        """Return the digest of the last statement, which the next header needs as `previous`."""
        return digest(self.closed[self.last].statement) if self.closed else ""

    def stated_months(self, before: str = "") -> set[str]:
        """Return the months about which the statements have lines. If `before` is not "", only the
        statements of months earlier than `before` are used."""
        found = set()
        for closed in self._before(before):
            found.add(closed.statement.month)
            if closed.statement.adjustments:
                found.update(line.month for line in closed.adjustments())
        return found

    def stated(self, month: str, before: str = "") -> Iterator[Line]:
        """Yield the lines of the statements about this month. If `before` is not "", only the
        statements of months earlier than `before` are used. Several statements may have a line for
        the same cell."""
        for closed in self._before(before):
            yield from closed.stated(month)

    def _before(self, month: str) -> Sequence[Closed]:
        return [self.closed[each] for each in sorted(self.closed) if not month or each < month]

    def add(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Add the next record. A record with invalid content is not an error. Raises an error if a
        part cannot be stored."""
        name = (key or b"").decode("utf-8", "replace")
        if not name.startswith(PREFIX) or value is None:
            return
        match name.removeprefix(PREFIX).split("/"):
            case [_, _]:
                self._add_header(offset, name, value)
            case [_, _, _]:
                self._parts[name] = self._kept.add(value)
            case _:
                self.void.append((offset, f"the key {name!r} is not that of a statement"))

    def _add_header(self, offset: int, name: str, value: bytes) -> None:
        try:
            statement = decode_statement(value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self.void.append((offset, f"it cannot be read: {error}"))
            return
        if not is_month(statement.month) or not 0 <= statement.parts <= MAX_PARTS:
            self.void.append((offset, "its month or its number of parts is not valid"))
            return
        parts = [self._parts.pop(f"{name}/{part}", None) for part in range(statement.parts)]
        text = KeptText(self._kept, tuple(part for part in parts if part is not None))
        if name.encode() != header_key(statement.month, statement.token):
            reason = "its key is not that of its month and token"
        elif statement.month <= self.last:
            reason = "another statement came before it"
        elif statement.previous != self.last_digest:
            reason = "it does not follow the last statement"
        elif sha256_of(text) != statement.sha256:
            reason = "its lines are missing"
        elif not _are_lines(text):
            reason = "its lines cannot be read"
        else:
            self.closed[statement.month] = Closed(statement, text, offset)
            return
        self.void_months[statement.month] = reason
        self.void.append((offset, reason))


def _are_lines(text: LinesText) -> bool:
    try:
        for _ in decode_lines(text):
            pass
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True
