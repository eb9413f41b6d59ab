"""Answers usage requests. Finds the views of the requested months, and the reason if the counts in
the views are incomplete.

For months that are not closed, the end offsets of the log are read first, and the counts
afterwards. So `complete` means that the answer includes every event that was committed when the
request arrived. For a closed month, the counts and `complete` are read from its statement.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from msgspec import Struct, structs

from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months, MonthState, next_month, state_of
from services.billing.core.usage_api.query import (
    Cursor,
    Query,
    QueryFault,
    require_known_month,
)
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from services.billing.edge.usage_view import AsksEnds
from services.billing.edge.views.adjustments import (
    PendingAdjustments,
    StatedAdjustments,
    adjusted_months,
)
from services.billing.edge.views.answer import Answer, MonthStanding, standing_of
from services.billing.edge.views.shelf import Shelf, Shelved
from shared.registry.client import Client
from shared.runtime.clock import Clock, Deadline
from shared.store.read_cells import Snapshot

_STEP_S: Final = 0.05
# The number of requests that may wait at the same time. Each waiting request occupies one of the
# few threads that answer requests.
MAX_WAITING: Final = 2


# These values are used for closed months. Neither Kafka nor the store is queried for closed months,
# so both may be unavailable.
_NOT_ASKED: Final = Snapshot(True, "", {}, {}, {})
_NO_ENDS: Final = LogEnds("", {})


class UnknownClient(Exception):
    """The client is not registered, and there are no counts for it."""


class TooManyWait(Exception):
    """This request may not wait, because the maximum number of requests is already waiting."""


class CountsChanged(Exception):
    """A cursor refers to a view that was dropped. The counts of this view cannot be read again,
    because they have changed."""


class ReadsBooks(Protocol):
    """Provides the statements of the closed months. In production this is Books."""

    def closed(self) -> tuple[dict[str, Closed], str]:
        """Return the statements by month, and the reason why newer statements may be missing, or
        "".

        Raises StatementsUnknown if the statements were never read.
        """
        ...


class ReaderParts(Struct, frozen=True):
    """The collaborators of a UsageReader."""

    shelf: Shelf
    books: ReadsBooks
    ends: AsksEnds
    months: Months
    clock: Clock
    # Returns the registered clients by name, or None while they are not known.
    clients: Callable[[], Mapping[str, Client] | None]


class UsageReader:
    """Answers usage queries. Thread-safe. All methods may raise StoreUnavailable. As long as the
    statements have not been read, the methods may also raise StatementsUnknown."""

    def __init__(self, parts: ReaderParts) -> None:
        self._parts = parts
        self._pending = PendingAdjustments(parts.shelf, parts.clock)
        self._stated = StatedAdjustments(parts.shelf)
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)

    def answer(self, query: Query, wait_s: float = 0.0) -> Answer:
        """Return the answer to a query. Raises QueryFault for invalid months. Raises
        UnknownClient."""
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
        closed, book_fault = self._parts.books.closed()
        ends = _NO_ENDS if _are_stated(query, closed) else self._ask(deadline)
        state = self._state(query, closed)
        self._require_months(query, state, closed)
        while True:
            views = tuple(self._view(query, month, state, closed) for month in query.months)
            found = tuple(self._standing(each, ends, closed, state) for each in views)
            answer = Answer(query, found, views)
            if deadline.is_over() or not answer.may_become_complete:
                break
            time.sleep(deadline.at_most(_STEP_S))
            state = self._state(query, closed)
        if not book_fault and state.whole:
            self._require_client(answer, state, closed)
        return answer

    def _state(self, query: Query, closed: Mapping[str, Closed]) -> Snapshot:
        return _NOT_ASKED if _are_stated(query, closed) else self._parts.shelf.state()

    def again(self, query: Query, cursor: Cursor) -> Answer:
        """Return the answer to which the page with this cursor belongs. Raises CountsChanged."""
        answer = self.answer(query)
        if answer.ids == cursor.views:
            return answer
        shelved = []
        for month, name, present in zip(query.months, cursor.views, answer.shelved, strict=True):
            found = present if present.id == name else self._parts.shelf.kept(month, name)
            if found is None:
                raise CountsChanged
            shelved.append(found)
        closed, _ = self._parts.books.closed()
        ends = _NO_ENDS if _are_stated(query, closed) else self._ask(Deadline(0.0))
        standings = tuple(self._standing(each, ends, closed) for each in shelved)
        return Answer(query, standings, tuple(shelved))

    def months(self) -> tuple[dict[str, MonthState], dict[str, Closed]]:
        """Return the state of each month that has counts or a statement. Also return the
        statements."""
        closed, _ = self._parts.books.closed()
        now_ms = self._parts.clock.now_ms()
        counted = {*self._parts.shelf.state().versions, *closed}
        found = {month: state_of(month, closed, self._parts.months, now_ms) for month in counted}
        return dict(sorted(found.items())), closed

    def closed(self) -> dict[str, Closed]:
        """Return the statements by month. The store is not queried."""
        return self._parts.books.closed()[0]

    def adjusted_months(self, month: str) -> tuple[str, ...]:
        """Return the months that have adjustments in the statement of this month. If the statement
        has no adjustments, return the previous month.

        Raises QueryFault if this month has no statement.
        """
        found = self.closed().get(month)
        if found is None:
            raise QueryFault(f"statement: {month!r} was found, a closed month is expected: YYYY-MM")
        return adjusted_months(found) or (next_month(month, -1),)

    def present(self) -> str:
        """Return the present month. There may be counts in later months, because the time of an
        event may be wrong."""
        return self._parts.months.of(self._parts.clock.now_ms())

    def _view(
        self, query: Query, month: str, state: Snapshot, closed: dict[str, Closed]
    ) -> Shelved:
        if query.statement:
            return self._stated.of(month, closed[query.statement])
        if query.is_pending:
            return self._pending.of(month, closed, state)
        if month in closed:
            return self._parts.shelf.closed(closed[month])
        return self._parts.shelf.live(month, state)

    def _standing(
        self,
        shelved: Shelved,
        ends: LogEnds | KafkaUnavailable,
        closed: Mapping[str, Closed],
        state: Snapshot | None = None,
    ) -> MonthStanding:
        now_ms = self._parts.clock.now_ms()
        status = state_of(shelved.view.month, closed, self._parts.months, now_ms)
        return standing_of(shelved, status, ends, state)

    def _require_months(self, query: Query, state: Snapshot, closed: dict[str, Closed]) -> None:
        if query.statement:
            if (late := max(query.months)) >= query.statement:
                raise QueryFault(f"month: {late} is not before the statement of {query.statement}")
            return
        present = self.present()
        # If an event is dated in the future, a later month may have counts.
        counted = {*state.versions, *closed}
        require_known_month(query.months, counted, max({present, *counted}))
        last = max(closed, default="")
        if query.is_pending and (others := [each for each in query.months if each > last]):
            raise QueryFault(f"month: {others[0]} is not closed; only a closed month is adjusted")

    def _require_client(self, answer: Answer, state: Snapshot, closed: dict[str, Closed]) -> None:
        """Raise UnknownClient if the client is not registered and has no counts."""
        query, known = answer.query, self._parts.clients()
        client = query.filters.client
        if client is None or known is None or client in known:
            return
        if query.statement:
            usage = Query((query.statement,), query.filters)
            answer = Answer(usage, (), (self._view(usage, query.statement, state, closed),))
        elif query.is_pending:
            usage = structs.replace(query, is_pending=False)
            views = tuple(self._view(usage, month, state, closed) for month in query.months)
            answer = Answer(usage, answer.standings, views)
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


def _are_stated(query: Query, closed: Mapping[str, Closed]) -> bool:
    """Return True if the query can be answered from statements alone."""
    are_closed = not query.is_pending and all(month in closed for month in query.months)
    return bool(query.statement) or are_closed
