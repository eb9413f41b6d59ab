"""Closes a month: counts at one moment become a statement on billing.statements.

On failure: nothing is locked, and any step may be repeated, by any process. A statement is the
header that comes first in the log and continues the chain (core/closing/chain.py), so a process
that dies, is paused or runs beside another leaves records that do not count, never a second
statement. What is counted for a closed month afterwards stands as an adjustment in the statement
of the next month.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from services.billing.core.answer import why_incomplete
from services.billing.core.closing import chain
from services.billing.core.closing.calendar import due, next_to_close
from services.billing.core.closing.statement import (
    Statement,
    encode_lines,
    encode_statement,
    lines_of,
    sign,
    split_lines,
    totals,
)
from services.billing.core.month import Months
from services.billing.edge.cells import Cells
from services.billing.edge.statements.topic import Entry, StatementTopic
from services.billing.edge.usage_view import AsksEnds, progress_of
from shared.runtime.clock import Clock
from shared.runtime.deadline import Deadline
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.store.read_cells import ALL_MONTHS, Snapshot
from shared.topics.codec import event_headers

log = logging.getLogger(__name__)

# The event for whoever writes the invoices; it is the record of the header itself.
CLOSED_TYPE: Final = b"sluice.billing.month.closed"
_STEP_S: Final = 0.1
_SOURCE: Final = b"/sluice/billing"


class ClosingParts(Struct, frozen=True):
    """The collaborators and settings of a Closer."""

    cells: Cells
    topic: StatementTopic
    ends: AsksEnds
    months: Months
    time_zone: str
    clock: Clock
    failpoints: Failpoints
    key: Ed25519PrivateKey | None = None
    grace_h: float = 72.0


class NotComplete(UsageError):
    """The counts of a month are not complete, so it is not closed."""


def require_time_zone(found: chain.Chain, time_zone: str) -> None:
    """Raise UsageError unless the statements were closed in this time zone."""
    if not found.last:
        return
    fixed = found.closed[found.last].statement.time_zone
    if fixed != time_zone:
        raise UsageError(
            f"billing.time_zone: {time_zone!r} was found; the statements were closed in {fixed!r},"
            " which cannot be changed"
        )


class Closer:
    """Closes months. For one thread."""

    def __init__(self, parts: ClosingParts) -> None:
        self._parts = parts

    def due(self) -> str:
        """The month that is to be closed without a command now; "" if there is none.

        Raises StoreUnavailable, KafkaUnavailable, and UsageError for another time zone.
        """
        parts = self._parts
        self._read()
        counted = parts.cells.read().versions
        grace_ms = round(parts.grace_h * 3_600_000)
        return due(counted, parts.topic.chain.last, parts.months, parts.clock.now_ms(), grace_ms)

    def close(
        self, month: str, closed_by: str, *, wait_s: float = 0.0, incomplete: bool = False
    ) -> Statement:
        """Close a month; return its statement, which another process may have written.

        Waits up to `wait_s` until everything committed is counted. Raises NotComplete if the counts
        are not complete, unless `incomplete`; UsageError if another month is due before;
        StoreUnavailable and KafkaUnavailable.
        """
        parts = self._parts
        self._read()
        if month in parts.topic.chain.closed:
            return parts.topic.chain.closed[month].statement
        found, reason = self._count(month, Deadline(wait_s))
        if reason and not (incomplete and found.whole and found.log):
            raise NotComplete(f"{month} is not complete: {reason}")
        self._require_next(month, found)
        self._write(month, closed_by, found, reason)
        self._read()
        closed = parts.topic.chain.closed.get(month)
        if closed is None:
            raise UsageError(f"{month}: the statement does not count; {self._last_void()}")
        return closed.statement

    def _read(self) -> None:
        parts = self._parts
        parts.topic.read()
        require_time_zone(parts.topic.chain, parts.time_zone)

    def _require_next(self, month: str, found: Snapshot) -> None:
        parts = self._parts
        present = parts.months.of(parts.clock.now_ms())
        wanted = next_to_close(found.versions, parts.topic.chain.last, present)
        if month >= present:
            raise UsageError(f"{month} has not ended yet in {parts.time_zone}")
        if month != wanted:
            rest = f"{wanted} is closed before it" if wanted else "no month can be closed now"
            raise UsageError(f"{month} cannot be closed: {rest}")

    def _count(self, month: str, deadline: Deadline) -> tuple[Snapshot, str]:
        """All cells at one moment, and why they are not complete for this month."""
        parts = self._parts
        ends = parts.ends.ask()

        def missing(found: Snapshot) -> str:
            return why_incomplete(progress_of(found), month, ends.log, ends.ends)

        # All cells are read only once: that takes the store about a second per million.
        while missing(parts.cells.read()) and not deadline.is_over():
            time.sleep(_STEP_S)
        found = parts.cells.read(ALL_MONTHS)
        return found, missing(found)

    def _write(self, month: str, closed_by: str, found: Snapshot, reason: str) -> None:
        parts = self._parts
        lines = lines_of(month, found.months, parts.topic.chain.stated())
        own = [line for line in lines if line.month == month]
        others = [line for line in lines if line.month != month]
        text = encode_lines(lines)
        pieces = split_lines(text, chain.PART_BYTES)
        statement = Statement(
            month=month,
            time_zone=parts.time_zone,
            closed_at_ms=parts.clock.now_ms(),
            closed_by=closed_by,
            complete=not reason,
            reason=reason,
            log=found.log,
            offsets={str(part): mark for part, mark in sorted(found.watermarks.items())},
            lines=len(lines),
            adjustments=len(others),
            totals=totals(own),
            adjusted=totals(others),
            sha256=hashlib.sha256(text).hexdigest(),
            previous=parts.topic.chain.last_digest,
            parts=len(pieces),
            token=secrets.token_hex(8),
        )
        parts.failpoints.hit("billing.closing")
        parts.topic.write(self._entries(sign(statement, parts.key), pieces))
        parts.failpoints.hit("billing.closed")

    def _entries(self, statement: Statement, pieces: list[bytes]) -> Iterator[Entry]:
        month, token = statement.month, statement.token
        for number, piece in enumerate(pieces):
            yield chain.part_key(month, token, number), piece, []
            self._parts.failpoints.hit("billing.part_written")
        headers = event_headers(
            f"{month}.{token}".encode(), CLOSED_TYPE, _SOURCE, statement.closed_at_ms
        )
        yield chain.header_key(month, token), encode_statement(statement), headers

    def _last_void(self) -> str:
        void = self._parts.topic.chain.void
        return void[-1][1] if void else "it was not found on billing.statements"
