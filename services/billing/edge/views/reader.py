"""Answers usage requests: the views of the months, how complete they are, and their rows.

The ends of the log are read first and the counts afterwards, so `complete` means: the answer
includes every event that was committed when the request came. For a closed month it means what its
statement says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Protocol

from msgspec import Struct

from services.billing.core.answer import lag, why_incomplete
from services.billing.core.closing.calendar import MonthState, state_of
from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months
from services.billing.core.usage_api.query import Cursor, Query, require_known_month
from services.billing.core.usage_api.rows import UsageRow, merged
from services.billing.core.usage_api.rows import totals as totals_of
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from services.billing.edge.usage_view import AsksEnds
from services.billing.edge.views.shelf import Shelf, Shelved
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.runtime.deadline import Deadline
from shared.store.read_cells import Snapshot

_STEP_S: Final = 0.05
# Requests that wait at a time. Each has one of the few threads that answer all requests.
MAX_WAITING: Final = 2


class UnknownClient(Exception):
    """No such client is registered or was ever counted."""


class TooManyWait(Exception):
    """As many requests as may wait at a time are waiting."""


class CountsChanged(Exception):
    """The view of a cursor is not there any more, and the counts have changed since."""


class MonthStanding(Struct, frozen=True):
    """Of which moment the counts of a month are, and what is missing in them."""

    month: str
    status: MonthState
    complete: bool
    reason: str
    at_ms: int
    log: str
    offsets: dict[int, int]
    lag: dict[int, int]


class Answer(Struct, frozen=True):
    """The views that answer a query, by month."""

    query: Query
    standings: tuple[MonthStanding, ...]
    shelved: tuple[Shelved, ...]

    @property
    def complete(self) -> bool:
        """Whether all months are."""
        return all(each.complete for each in self.standings)

    @property
    def reason(self) -> str:
        """Why they are not."""
        found = (each.reason for each in self.standings if not each.complete)
        return "; ".join(dict.fromkeys(found))

    @property
    def at_ms(self) -> int:
        """The moment: the earliest of the months that are not closed, or the last close."""
        live = [each.at_ms for each in self.standings if each.status is not MonthState.CLOSED]
        return min(live) if live else max(each.at_ms for each in self.standings)

    @property
    def is_final(self) -> bool:
        """Whether it never changes."""
        return all(each.status is MonthState.CLOSED for each in self.standings)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the views."""
        return tuple(each.id for each in self.shelved)

    def rows(
        self, after: Sequence[str] | None = None, limit: int | None = None
    ) -> Iterator[UsageRow]:
        """The rows after this key, in order: all, or at least so many if there are.

        Memory is that of one page, however many months there are. With the month in the key they
        are read one after another. Otherwise all of them are read at once, row by row: a page of
        each would be in memory.
        """
        query, views = self.query, [each.view for each in self.shelved]
        if "month" in query.group:
            return chain.from_iterable(
                view.rows(query.group, query.filters, after, limit) for view in views
            )
        at_once = limit if len(views) == 1 else None
        return merged([view.rows(query.group, query.filters, after, at_once) for view in views])

    def totals(self) -> dict[str, Any]:
        """The sums of all rows, of all pages."""
        months = [each.view.rows((), self.query.filters) for each in self.shelved]
        return totals_of(row for rows in months for row in rows)


class ReadsBooks(Protocol):
    """Knows the closed months; Books in production."""

    def closed(self) -> tuple[dict[str, Closed], str]:
        """The statements by month, and why newer ones may be missing."""
        ...


class ReaderParts(Struct, frozen=True):
    """The collaborators of a UsageReader."""

    shelf: Shelf
    books: ReadsBooks
    ends: AsksEnds
    months: Months
    clock: Clock
    # The registered clients; None while they are not known.
    clients: Callable[[], Mapping[str, Client] | None]


class UsageReader:
    """Answers queries. Any thread may ask; all methods may raise StoreUnavailable."""

    def __init__(self, parts: ReaderParts) -> None:
        self._parts = parts
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)

    def answer(self, query: Query, wait_s: float = 0.0) -> Answer:
        """Answer a query. Raises QueryFault for months that cannot be, UnknownClient."""
        if wait_s <= 0:
            return self._answer(query, 0.0)
        if not self._waiting.acquire(blocking=False):
            raise TooManyWait
        try:
            return self._answer(query, wait_s)
        finally:
            self._waiting.release()

    def _answer(self, query: Query, wait_s: float) -> Answer:
        deadline = Deadline(wait_s)
        ends = self._ask(deadline)
        closed, book_fault = self._parts.books.closed()
        state = self._parts.shelf.state()
        self._require_months(query, state, closed)
        while True:
            found = [self._month(month, state, ends, closed) for month in query.months]
            if deadline.is_over() or not any(_may_become_complete(each) for each, _ in found):
                break
            time.sleep(deadline.at_most(_STEP_S))
            state = self._parts.shelf.state()
        standings = tuple(standing for standing, _ in found)
        answer = Answer(query, standings, tuple(each for _, each in found))
        self._require_client(answer, state, book_fault)
        return answer

    def again(self, query: Query, cursor: Cursor) -> Answer:
        """The answer of which a cursor has seen a page. Raises CountsChanged."""
        answer = self.answer(query)
        if answer.ids == cursor.views:
            return answer
        shelved = []
        for month, name, present in zip(query.months, cursor.views, answer.shelved, strict=True):
            found = present if present.id == name else self._parts.shelf.kept(month, name)
            if found is None:
                raise CountsChanged
            shelved.append(found)
        ends = self._ask(Deadline(0.0))
        standings = tuple(
            self._standing(month, each, ends)
            for month, each in zip(query.months, shelved, strict=True)
        )
        return Answer(query, standings, tuple(shelved))

    def months(self) -> tuple[dict[str, MonthState], dict[str, Closed]]:
        """The state of each month that has counts or a statement, and the statements."""
        closed, _ = self._parts.books.closed()
        now_ms = self._parts.clock.now_ms()
        last = max(closed, default="")
        counted = {*self._parts.shelf.state().versions, *closed}
        found = {month: state_of(month, last, self._parts.months, now_ms) for month in counted}
        return dict(sorted(found.items())), closed

    def _month(
        self,
        month: str,
        state: Snapshot,
        ends: LogEnds | KafkaUnavailable,
        closed: dict[str, Closed],
    ) -> tuple[MonthStanding, Shelved]:
        shelf = self._parts.shelf
        if month in closed:
            shelved = shelf.closed(closed[month])
        else:
            shelved = shelf.live(month, state)
        return self._standing(month, shelved, ends), shelved

    def _standing(
        self, month: str, shelved: Shelved, ends: LogEnds | KafkaUnavailable
    ) -> MonthStanding:
        progress = shelved.progress
        marks = dict(sorted(progress.watermarks.items()))
        if shelved.statement is not None:
            header = shelved.statement.statement
            return MonthStanding(
                month,
                MonthState.CLOSED,
                header.complete,
                header.reason,
                shelved.at_ms,
                header.log,
                marks,
                {},
            )
        status = state_of(month, "", self._parts.months, self._parts.clock.now_ms())
        if isinstance(ends, KafkaUnavailable):
            reason, behind = str(ends), dict[int, int]()
        else:
            reason = why_incomplete(progress, month, ends.log, ends.ends)
            behind = lag(progress, ends.ends)
        return MonthStanding(
            month, status, not reason, reason, shelved.at_ms, progress.log, marks, behind
        )

    def _require_months(self, query: Query, state: Snapshot, closed: dict[str, Closed]) -> None:
        present = self._parts.months.of(self._parts.clock.now_ms())
        # Events of the future have months of their own.
        counted = {*state.versions, *closed}
        require_known_month(query.months, counted, max({present, *counted}))

    def _require_client(self, answer: Answer, state: Snapshot, book_fault: str) -> None:
        client = answer.query.filters.client
        if client is None:
            return
        known = self._parts.clients()
        if known is None or client in known or book_fault or not state.whole:
            return
        if next(answer.rows(), None) is None:
            raise UnknownClient(client)

    def _ask(self, deadline: Deadline) -> LogEnds | KafkaUnavailable:
        while True:
            try:
                return self._parts.ends.ask()
            except KafkaUnavailable as error:
                if deadline.is_over():
                    return error
            time.sleep(deadline.at_most(_STEP_S))


def _may_become_complete(standing: MonthStanding) -> bool:
    """What a statement does not have never comes."""
    return not standing.complete and standing.status is not MonthState.CLOSED
