"""Closes a month. Reads the counts of the month at one moment, and writes the counts as a statement
to billing.statements.

The lines are gathered in a file (gathering.py). Then the lines are read from this file, hashed, and
written to the topic in parts. The header has the hash of the lines and is written last. Memory is
bounded for any number of lines.

There are no locks, so any process may repeat any step after a failure. If several headers continue
the chain, only the first of these headers in the topic is valid (core/closing/chain.py). So a
process that dies, is paused, or runs at the same time as another process may leave invalid records,
but never a second valid statement. If events of a month are counted after its close, they become
adjustments in the statement of the next month.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from services.billing.core.answer import why_incomplete
from services.billing.core.closing import chain
from services.billing.core.closing.lines import Sums, encode_line, in_parts
from services.billing.core.closing.statement import Statement, encode_statement, sign
from services.billing.core.month import Months, due, next_to_close
from services.billing.edge.cells import Cells
from services.billing.edge.log_ends import LogEnds
from services.billing.edge.statements.gathering import GatheredLines
from services.billing.edge.statements.topic import Entry, StatementTopic
from services.billing.edge.usage_view import AsksEnds, progress_of
from shared.runtime.clock import Clock, Deadline
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.store.read_cells import Snapshot
from shared.topics.codec import event_headers

log = logging.getLogger(__name__)

# The record of a header is a CloudEvent of this type. The program that writes invoices reads it.
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


class _Closing(Struct, frozen=True):
    """One attempt to close a month. `closed_by` is "automatic" or "command". `reason` is the reason
    why the counts are incomplete, or ""."""

    month: str
    closed_by: str
    moment: Snapshot
    reason: str


class NotComplete(UsageError):
    """The month is not closed, because its counts are not complete."""


def require_time_zone(found: chain.Chain, time_zone: str) -> None:
    """Raise UsageError if existing statements have another time zone."""
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
        """Return the month that must be closed automatically now. Return "" if no month must be
        closed.

        Raises StoreUnavailable and KafkaUnavailable. Raises UsageError if the statements have
        another time zone.
        """
        parts = self._parts
        self._read()
        counted = parts.cells.read().versions
        grace_ms = round(parts.grace_h * 3_600_000)
        return due(counted, parts.topic.chain.last, parts.months, parts.clock.now_ms(), grace_ms)

    def close(
        self, month: str, closed_by: str, *, wait_s: float = 0.0, incomplete: bool = False
    ) -> Statement:
        """Close a month and return its statement. If another process closes the month first, return
        the statement of that process.

        Waits for at most `wait_s` seconds until every committed event is counted. Raises
        NotComplete if the counts are not complete and `incomplete` is False. Raises UsageError if
        the month cannot be closed now, for example because another month must be closed first. Also
        raises StoreUnavailable, KafkaUnavailable and DiskUnavailable.
        """
        parts = self._parts
        self._read()
        if month in parts.topic.chain.closed:
            return parts.topic.chain.closed[month].statement
        ends = parts.ends.ask()
        self._wait_for(month, ends, Deadline(wait_s))
        with closing(GatheredLines(month, parts.topic.chain)) as gathered:
            found = gathered.read(parts.cells)
            reason = _missing(month, found, ends)
            if reason and not (incomplete and found.whole and found.log):
                raise NotComplete(f"{month} is not complete: {reason}")
            self._require_next(month, found)
            self._write(_Closing(month, closed_by, found, reason), gathered)
        self._read()
        closed = parts.topic.chain.closed.get(month)
        if closed is None:
            raise UsageError(f"{month}: the statement is not valid; {self._last_void()}")
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
            rest = f"{wanted} must be closed first" if wanted else "no month can be closed now"
            raise UsageError(f"{month} cannot be closed: {rest}")

    def _wait_for(self, month: str, ends: LogEnds, deadline: Deadline) -> None:
        """Wait until the counts of the month are complete, or until the deadline."""
        # This loop reads only the state and no cells, because a read of all cells takes some
        # seconds per million.
        while _missing(month, self._parts.cells.read(), ends) and not deadline.is_over():
            time.sleep(_STEP_S)

    def _write(self, found: _Closing, gathered: GatheredLines) -> None:
        parts = self._parts
        # The counts were compared with the statements of this chain, so the new statement must
        # continue this chain.
        previous = parts.topic.chain.last_digest
        parts.failpoints.hit("billing.closing")
        parts.topic.write(self._entries(found, gathered, previous))
        parts.failpoints.hit("billing.closed")

    def _entries(self, found: _Closing, gathered: GatheredLines, previous: str) -> Iterator[Entry]:
        month, token = found.month, secrets.token_hex(8)
        hashed, sums, number = hashlib.sha256(), Sums(month), 0
        for part in in_parts(_encoded(gathered, sums), chain.PART_BYTES):
            hashed.update(part)
            yield chain.part_key(month, token, number), part, []
            number += 1
            self._parts.failpoints.hit("billing.part_written")
        statement = Statement(
            month=month,
            time_zone=self._parts.time_zone,
            closed_at_ms=self._parts.clock.now_ms(),
            closed_by=found.closed_by,
            complete=not found.reason,
            reason=found.reason,
            log=found.moment.log,
            offsets={str(part): mark for part, mark in sorted(found.moment.watermarks.items())},
            lines=sums.lines,
            adjustments=sums.adjustments,
            totals=sums.totals,
            adjusted=sums.adjusted,
            sha256=hashed.hexdigest(),
            previous=previous,
            parts=number,
            token=token,
        )
        headers = event_headers(
            f"{month}.{token}".encode(), CLOSED_TYPE, _SOURCE, statement.closed_at_ms
        )
        signed = sign(statement, self._parts.key)
        yield chain.header_key(month, token), encode_statement(signed), headers

    def _last_void(self) -> str:
        void = self._parts.topic.chain.void
        return void[-1][1] if void else "it was not found on billing.statements"


def _missing(month: str, found: Snapshot, ends: LogEnds) -> str:
    """Return the reason why the counts of this month are not complete. Return "" if they are
    complete."""
    return why_incomplete(progress_of(found), month, ends.log, ends.ends)


def _encoded(gathered: GatheredLines, sums: Sums) -> Iterator[bytes]:
    for line in gathered.lines():
        sums.add(line)
        yield encode_line(line)
