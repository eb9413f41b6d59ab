"""Keeps the views of the requested months sorted, so that requests need not wait for sorting.

When the process starts, a thread sorts the present month and the previous month. The finance
department needs the previous month during the present month. `fault` is set until both months are
sorted, so the process is not ready before they are sorted. Afterwards, if a request asked for the
present month within the last ASKED_S, the thread sorts the present month again when its view may be
replaced (shelf.py). If no request has asked, the thread sorts the present month every ten minutes.
The thread sorts the previous month again within LOOK_BACK_S after the close of that month. It sorts
other months if requests want newer views. During the sorting, requests get the earlier view, and
the answer shows the moment of this view. If sorting fails, for example because the store is
unavailable or the disk is full, the thread tries again. Until the thread succeeds, a request sorts
the month itself, or gets the reason for the failure.
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
# The interval at which the thread checks whether the previous month is closed.
LOOK_BACK_S: Final = 30.0


class Warmer(RunsThread):
    """Sorts months from start() until close(). `fault` is the reason why the first request would
    have to wait, or ""."""

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
        """Sort the months that must be sorted now. May raise StoreUnavailable, StatementsUnknown,
        sqlite3.Error or OSError."""
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
        """Sort `month`, which must be the month before the present month. Return False if it is not
        known yet whether `month` has a statement."""
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
