"""Keeps the view of the present month sorted, so that requests need not wait for it.

A thread sorts the month when the process starts, and again when its view is not to be used any more
(shelf.py), as long as somebody asked for it within ASKED_S, and every ten minutes otherwise. It
also sorts the other months that requests want renewed. Meanwhile requests get the view before,
which says of which moment it is. On failure (the store is unavailable, the disk is full) nothing is
kept ready and it is tried again; a request then sorts the month itself, or says why it cannot.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import Final

from services.billing.core.month import Months
from services.billing.edge.views.shelf import Shelf
from shared.runtime.clock import Clock
from shared.runtime.enduring_thread import EnduringThread
from shared.store.client import StoreUnavailable

LOOK_S: Final = 2.0
ASKED_S: Final = 900.0


class Warmer:
    """Runs from start() until close()."""

    def __init__(self, shelf: Shelf, months: Months, clock: Clock) -> None:
        self._shelf = shelf
        self._months = months
        self._clock = clock
        self._stop = threading.Event()
        self._thread = EnduringThread(
            "views",
            self._run,
            expected=(StoreUnavailable, sqlite3.Error, OSError),
            failed=lambda _: None,
        )

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

    def _run(self) -> None:
        while not self._stop.is_set():
            self.turn()
            self._stop.wait(LOOK_S)
