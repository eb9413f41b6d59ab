"""Keeps the views of the months that are asked for sorted, so that requests need not wait for it.

A thread sorts the present month and the one before it, which finance asks for until the next one
ends, when the process starts; `fault` says that it has not yet, so that the process is ready only
then. It sorts an open month again when its view is not to be used any more (shelf.py), as long as
somebody asked for it within ASKED_S, and every ten minutes otherwise; a closed month once, within
LOOK_BACK_S of its close. It also sorts the other months that requests want renewed. Meanwhile
requests get the view before, which says of which moment it is. On failure (the store is
unavailable, the disk is full) nothing is kept ready and it is tried again; a request then sorts the
month itself, or says why it cannot.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import Final

from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months, next_month
from services.billing.edge.views.books import StatementsUnknown
from services.billing.edge.views.reader import ReadsBooks
from services.billing.edge.views.shelf import Shelf
from shared.runtime.clock import Clock
from shared.runtime.threads import EnduringThread
from shared.store.client import StoreUnavailable

LOOK_S: Final = 2.0
ASKED_S: Final = 900.0
# How often it looks whether the month before the present one is closed.
LOOK_BACK_S: Final = 30.0


class Warmer:
    """Runs from start() until close(). `fault`: why a first request would have to wait; "" if it
    would not, which stays so."""

    def __init__(self, shelf: Shelf, months: Months, clock: Clock, books: ReadsBooks) -> None:
        self._shelf = shelf
        self._months = months
        self._clock = clock
        self._books = books
        self._looked_at: float | None = None
        self._is_first = True
        self._stop = threading.Event()
        self._thread = EnduringThread(
            "views",
            self._run,
            expected=(StoreUnavailable, StatementsUnknown, sqlite3.Error, OSError),
            failed=self._failed,
        )
        self.fault = "the months are being sorted"

    def start(self) -> None:
        """Begin; return at once."""
        self._thread.start()

    def close(self) -> None:
        """Finish sorting and stop."""
        self._stop.set()
        self._thread.close()

    def turn(self) -> None:
        """Sort the months that are due. May raise what sorting raises."""
        present = self._months.of(self._clock.now_ms())
        for month in {present, *self._shelf.wanted()}:
            self._shelf.warm(month, ASKED_S)
        if self._look_back(next_month(present, -1)):
            self._is_first, self.fault = False, ""

    def _run(self) -> None:
        while not self._stop.is_set():
            self.turn()
            self._stop.wait(LOOK_S)

    def _failed(self, reason: str) -> None:
        if self._is_first:
            self.fault = reason

    def _look_back(self, month: str) -> bool:
        """Sort the month before; return whether it was possible to know how."""
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
