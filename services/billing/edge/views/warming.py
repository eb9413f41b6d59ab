"""Keeps the views of the requested months sorted, so that requests need not wait for sorting.

When the process starts, a thread sorts the present month and the previous month, which finance asks
for during the present month. `fault` is set until both are sorted, so the process is ready only
afterwards. If a request asked for an open month within ASKED_S, the thread sorts the month again
when its view is too old (shelf.py). Without a request, the thread sorts it every ten minutes. It
sorts the previous month once more within LOOK_BACK_S of its close, and other months if requests
want them renewed. Meanwhile requests get the earlier view, which shows its moment. On failure (the
store is unavailable, the disk is full) the thread tries again. Until it succeeds, a request sorts
the month itself, or gets the reason why that fails.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months, next_month
from services.billing.edge.views.books import StatementsUnknown
from services.billing.edge.views.reader import ReadsBooks
from services.billing.edge.views.shelf import Shelf
from shared.runtime.clock import Clock
from shared.runtime.threads import EnduringThread, RunsThread
from shared.store.client import StoreUnavailable

LOOK_S: Final = 2.0
ASKED_S: Final = 900.0
# How often the thread checks whether the previous month is closed.
LOOK_BACK_S: Final = 30.0


class Warmer(RunsThread):
    """Runs from start() until close(). `fault`: why the first request would have to wait; "" if it
    would not."""

    def __init__(self, shelf: Shelf, months: Months, clock: Clock, books: ReadsBooks) -> None:
        self._shelf = shelf
        self._months = months
        self._clock = clock
        self._books = books
        self._looked_at: float | None = None
        self._is_first = True
        self._thread = EnduringThread(
            "views",
            self._run,
            expected=(StoreUnavailable, StatementsUnknown, sqlite3.Error, OSError),
            failed=self._failed,
        )
        self.fault = "the months are being sorted"

    def turn(self) -> None:
        """Sort the months that are due. May raise what sorting raises."""
        present = self._months.of(self._clock.now_ms())
        for month in {present, *self._shelf.wanted()}:
            self._shelf.warm(month, ASKED_S)
        if self._look_back(next_month(present, -1)):
            self._is_first, self.fault = False, ""

    def _run(self) -> None:
        while not self._thread.is_closing:
            self.turn()
            self._thread.wait(LOOK_S)

    def _failed(self, reason: str) -> None:
        if self._is_first:
            self.fault = reason

    def _look_back(self, month: str) -> bool:
        """Sort the month before the present one; return False if its statement is not known yet."""
        now = self._clock.monotonic()
        if self._looked_at is not None and now < self._looked_at + LOOK_BACK_S:
            return True
        closed, unknown = self._books.closed()
        if unknown and month not in closed:
            self._failed(unknown)
            return False
        self._sort(month, closed)
        self._looked_at = now
        return True

    def _sort(self, month: str, closed: dict[str, Closed]) -> None:
        if month in closed:
            self._shelf.closed(closed[month])
        elif month in self._shelf.state().versions:
            self._shelf.warm(month, ASKED_S)
