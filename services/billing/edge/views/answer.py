"""The answer to a usage request. The answer has the views of the requested months, and says whether
the counts in these views are complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from msgspec import Struct

from services.billing.core.answer import lag, why_incomplete
from services.billing.core.month import MonthState
from services.billing.core.usage_api.query import Query
from services.billing.core.usage_api.tables import UsageRow, merged, utc_text
from services.billing.core.usage_api.tables import totals as totals_of
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from services.billing.edge.usage_view import progress_of
from services.billing.edge.views.shelf import Shelved
from shared.store.read_cells import Snapshot

EARLIER: Final = (
    "these are the counts of {}; newer ones are being sorted: ask again in a few seconds"
)


class MonthStanding(Struct, frozen=True):
    """The moment of the counts of a month, and the reason why the counts are not complete, or
    ""."""

    month: str
    status: MonthState
    complete: bool
    reason: str
    at_ms: int
    log: str
    offsets: dict[int, int]
    lag: dict[int, int]
    # True if more events were counted after this view was made. In this case, the month is being
    # sorted again.
    is_earlier: bool = False


class Answer(Struct, frozen=True):
    """The views that answer a query, one per month."""

    query: Query
    standings: tuple[MonthStanding, ...]
    shelved: tuple[Shelved, ...]

    @property
    def complete(self) -> bool:
        """Return True if the counts of all months are complete."""
        return all(each.complete for each in self.standings)

    @property
    def reason(self) -> str:
        """Return the reasons why the counts of some months are not complete."""
        found = (each.reason for each in self.standings if not each.complete)
        return "; ".join(dict.fromkeys(found))

    @property
    def at_ms(self) -> int:
        """Return the moment of the oldest view that is not from a statement. If all views are from
        statements, return the moment of the last close."""
        live = [each.at_ms for each in self.shelved if each.statement is None]
        return min(live) if live else max(each.at_ms for each in self.shelved)

    @property
    def is_final(self) -> bool:
        """Return True if the answer can never change."""
        return all(each.statement is not None for each in self.shelved)

    @property
    def may_become_complete(self) -> bool:
        """Return True if the answer may become complete later. An incomplete statement stays
        incomplete."""
        found = zip(self.standings, self.shelved, strict=True)
        return any(not each.complete and view.statement is None for each, view in found)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.shelved)

    def rows(
        self, after: Sequence[str] | None = None, limit: int | None = None
    ) -> Iterator[UsageRow]:
        """Return the rows after the key `after`, in order. If `limit` is given, the caller must
        stop after `limit` rows, because there may be more rows.

        For any number of months, at most one page is in memory. If the month is in the grouping,
        the months are read one after another. If the month is not in the grouping, all months are
        read together, row by row, because a read by pages would need memory for one page of each
        month.
        """
        query, views = self.query, [each.view for each in self.shelved]
        if "month" in query.group:
            return chain.from_iterable(
                view.rows(query.group, query.filters, after, limit) for view in views
            )
        at_once = limit if len(views) == 1 else None
        return merged([view.rows(query.group, query.filters, after, at_once) for view in views])

    def totals(self) -> dict[str, Any]:
        """Return the sum of each counter over the rows of all pages."""
        months = [each.view.rows((), self.query.filters) for each in self.shelved]
        return totals_of(row for rows in months for row in rows)


def standing_of(
    shelved: Shelved,
    status: MonthState,
    ends: LogEnds | KafkaUnavailable,
    state: Snapshot | None = None,
) -> MonthStanding:
    """Return the standing of a view. If the newest view is wanted, `state` is the present progress.
    Otherwise `state` is None.

    If the counts in `state` are newer than the view, `reason` has the moment of the view, and the
    reason why the counts in `state` are not complete.
    """
    progress = shelved.progress
    is_earlier = state is not None and _is_earlier(shelved, state)
    counted = progress_of(state) if state is not None and is_earlier else progress
    header = shelved.statement.statement if shelved.statement is not None else None
    if header is not None:
        reason, behind = header.reason, dict[int, int]()
    elif isinstance(ends, KafkaUnavailable):
        reason, behind = str(ends), dict[int, int]()
    else:
        reason = why_incomplete(counted, shelved.view.month, ends.log, ends.ends)
        behind = lag(counted, ends.ends)
    if is_earlier:
        reason = "; ".join(filter(None, (EARLIER.format(utc_text(shelved.at_ms)), reason)))
    return MonthStanding(
        month=shelved.view.month,
        status=status,
        complete=header.complete if header is not None else not reason,
        reason=reason,
        at_ms=shelved.at_ms,
        log=progress.log,
        offsets=dict(sorted(progress.watermarks.items())),
        lag=behind,
        is_earlier=is_earlier,
    )


def _is_earlier(shelved: Shelved, state: Snapshot) -> bool:
    """Return True if the month has changed after the view was made. Return False if the view is
    newer than `state`."""
    marks = shelved.progress.watermarks
    has_more = any(mark > marks.get(part, -1) for part, mark in state.watermarks.items())
    return has_more and not shelved.is_of(state)
