"""Keeps the views of months. Decides which view a request gets, and how long a view is kept.

The view of a closed month has the lines of its statement and never changes. The view of a month
that is not closed is replaced when the counts of the month have changed. But first the view is used
for some time: SHARE times the duration of its sorting, or MAX_AGE_S if this is less. An answer
shows the moment of its view. Up to MAX_VIEWS views are kept, for readers that ask for the next page
of an earlier view.

Only one thread at a time sorts a month: the thread of a request, or the warming thread
(warming.py). Meanwhile other requests get the earlier view, or wait if no view is recent enough. If
there is a warming thread (`is_renewed`), a request does not sort a big month again. While the
warming thread sorts the month, the request gets the earlier view if this view is at most STALE_S
old. A process removes its folder of views when it ends. If the process is killed, the next process
that starts removes this folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from services.billing.core.answer import CountingProgress
from services.billing.core.cells import Cell, decode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.closing.lines import cell_of
from services.billing.edge.cells import Cells
from services.billing.edge.usage_view import progress_of
from services.billing.edge.views.view import View
from shared.runtime.clock import Clock
from shared.store.read_cells import Snapshot
from shared.store.read_pieces import as_copy_if_changed

MAX_AGE_S: Final = 60.0
SHARE: Final = 20.0
# A request sorts a month itself if the last sorting took less than SLOW_S, or if the month has at
# most FEW_CELLS cells. The second condition is needed because even the sorting of few cells may
# take long under load.
SLOW_S: Final = 0.2
FEW_CELLS: Final = 10_000
# If no requests arrive, the month is sorted again at this interval, so that the next request finds
# a recent view.
IDLE_S: Final = 600.0
STALE_S: Final = 2 * IDLE_S
MAX_VIEWS: Final = 48
_PREFIX: Final = "sluice-views-"


class Shelved(Struct, frozen=True):
    """A view, and the moment of its counts."""

    id: str  # all processes use the same id for the same counts
    view: View
    progress: CountingProgress
    at_ms: int
    statement: Closed | None = None
    usable_until: float = 0.0
    sorted_at: float = 0.0
    sorting_s: float = 0.0
    cells: int = 0
    counted: str = ""  # the id of the counts in the store, or "" if the view is from a statement

    def is_of(self, state: Snapshot) -> bool:
        """Return True if the view has all counts of this state. If the view is from a statement,
        always return True."""
        return not self.counted or self.counted == id_of(state, self.view.month)


class Shelf:
    """The views of one process. Thread-safe."""

    def __init__(
        self,
        cells: Cells,
        clock: Clock,
        folder: Path | None = None,
        *,
        is_renewed: bool = False,
        few_cells: int = FEW_CELLS,
    ) -> None:
        """`is_renewed` is True if another thread calls warm() for the months that wanted() returns.
        Even in this case, a request itself sorts a month that has at most `few_cells` cells."""
        self._few_cells = few_cells
        self._is_renewed = is_renewed
        self._wanted: set[str] = set()
        self.cells = cells
        self._clock = clock
        root = folder or Path(tempfile.gettempdir())
        _remove_leftovers(root)
        pid = os.getpid()
        self._folder = root / f"{_PREFIX}{pid}-{_start_of(pid)}-{id(self):x}"
        self._kept: OrderedDict[tuple[str, str], Shelved] = OrderedDict()
        self._latest: dict[str, Shelved] = {}
        self._asked: dict[str, float] = {}  # The time of the last request, by month.
        self._lock = threading.Lock()
        self._sorting: dict[str, threading.Lock] = {}

    def state(self) -> Snapshot:
        """Return the present progress of counting, without cells. Raises StoreUnavailable."""
        return self.cells.read()

    def kept(self, month: str, name: str) -> Shelved | None:
        """Return the view with the id `name`. Return None if the view is no longer kept."""
        with self._lock:
            found = self._kept.get((month, name))
        # The file of the view may be missing, because other programs may remove temporary files.
        return found if found is not None and found.view.is_there() else None

    def closed(self, statement: Closed) -> Shelved:
        """Return the view of a closed month."""
        header = statement.statement
        month, name = header.month, header.sha256[:16]
        with self._turn(month):
            found = self.kept(month, name)
            if found is None:
                own = statement.stated(month)
                view = self.sorted_view(month, ((cell_of(line), line.count) for line in own))
                found = stated_view(name, view, statement)
            return self._keep(month, found)

    def live(self, month: str, state: Snapshot) -> Shelved:
        """Return the view of a month that is not closed. Raises StoreUnavailable.

        `state` is the present progress. The view may be older than `state`, because sorting may
        take only a small part of the time. A request that needs all counts of `state` must call
        this method again.
        """
        self._asked[month] = self._clock.monotonic()
        turn = self._turn(month)
        if not turn.acquire(blocking=False):
            if (before := self._while_sorting(month)) is not None:
                return before
            turn.acquire()
        try:
            return self._live(month, state, may_be_stale=self._is_renewed)
        finally:
            turn.release()

    def wanted(self) -> list[str]:
        """Return the months for which requests have wanted a newer view since the last call of
        wanted()."""
        with self._lock:
            found, self._wanted = sorted(self._wanted), set()
        return found

    def warm(self, month: str, asked_s: float) -> None:
        """Sort a month if it was never sorted. Sort the month again if its view may be replaced and
        one of two conditions is met: a request asked for the month within the last `asked_s`
        seconds, or the view is older than IDLE_S."""
        found, now = self._latest.get(month), self._clock.monotonic()
        if found is not None:
            is_wanted = now - self._asked.get(month, -asked_s) < asked_s
            is_old = now >= found.sorted_at + IDLE_S
            is_due = now >= found.usable_until and (is_wanted or is_old)
            if found.statement is not None or not is_due:
                return
        with self._turn(month):
            self._live(month, self.state(), may_be_stale=False)

    def _while_sorting(self, month: str) -> Shelved | None:
        """Return the view to use while another thread sorts the month. Return None if there is no
        recent view."""
        found = self._latest.get(month)
        if found is None or found.statement is not None or not found.view.is_there():
            return None
        until = found.sorted_at + STALE_S if self._is_renewed else found.usable_until + MAX_AGE_S
        return found if self._clock.monotonic() < until else None

    def _live(self, month: str, state: Snapshot, *, may_be_stale: bool) -> Shelved:
        found = self._latest.get(month)
        if found is not None and not found.view.is_there():
            found = None
        if found is not None and found.id == id_of(state, month):
            current = with_progress(found, state, self._clock.now_ms())
            # The counts have not changed, so the view is treated like a view that was sorted now.
            return self._keep(month, structs.replace(current, sorted_at=self._clock.monotonic()))
        if found is not None and self._clock.monotonic() < found.usable_until:
            return self._keep(month, found)
        if found is not None and may_be_stale and self._is_worth_waiting(found):
            with self._lock:
                self._wanted.add(month)
            return self._keep(month, found)
        began, at_ms = self._clock.monotonic(), self._clock.now_ms()
        snapshot, view, number = as_copy_if_changed(lambda: self._read(month))
        ended = self._clock.monotonic()
        name = id_of(snapshot, month)
        made = Shelved(
            name,
            view,
            progress_of(snapshot),
            at_ms,
            usable_until=usable_until(began, ended),
            sorted_at=ended,
            sorting_s=ended - began,
            cells=number,
            counted=name,
        )
        return self._keep(month, made)

    def _is_worth_waiting(self, found: Shelved) -> bool:
        """Return True if a request should use this view while another thread sorts the month
        again."""
        if (
            found.statement is not None
            or found.sorting_s < SLOW_S
            or found.cells <= self._few_cells
        ):
            return False
        return self._clock.monotonic() < found.sorted_at + STALE_S

    def close(self) -> None:
        """Remove all files."""
        with self._lock:
            self._kept.clear()
            self._latest.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _turn(self, month: str) -> threading.Lock:
        with self._lock:
            return self._sorting.setdefault(month, threading.Lock())

    def _read(self, month: str) -> tuple[Snapshot, View, int]:
        with self.cells.reading(month) as (snapshot, cells):
            places = count(1)
            numbered = zip(cells, places, strict=False)
            named = ((decode_cell(name), number) for (_, name, number), _ in numbered)
            return snapshot, self.sorted_view(month, named), next(places) - 1

    def sorted_view(self, month: str, cells: Iterable[tuple[Cell, int]]) -> View:
        """Sort these cells. Raises sqlite3.Error, OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return View(month, cells, self._folder)

    def _keep(self, month: str, shelved: Shelved) -> Shelved:
        with self._lock:
            self._latest[month] = shelved
            self._kept[month, shelved.id] = shelved
            self._kept.move_to_end((month, shelved.id))
            while len(self._kept) > MAX_VIEWS:
                (old, _), gone = self._kept.popitem(last=False)
                if self._latest.get(old) is gone:
                    del self._latest[old]
        return shelved


def id_of(state: Snapshot, month: str) -> str:
    """Return an id of the counts of a month. The id changes whenever these counts change."""
    generation = state.generation or "none"
    return f"{generation}.{state.versions.get(month, 0)}" if state.whole else "lost"


def stated_view(name: str, view: View, statement: Closed) -> Shelved:
    """Return this view with the moment of the statement from which it was made."""
    header = statement.statement
    marks = {int(part): mark for part, mark in header.offsets.items()}
    progress = CountingProgress(True, header.log, marks, {})
    return Shelved(name, view, progress, header.closed_at_ms, statement)


def usable_until(began: float, ended: float) -> float:
    """Return the time at which a view may be replaced. If the sorting took longer, the view is used
    for longer."""
    return ended + min(MAX_AGE_S, SHARE * (ended - began))


def with_progress(found: Shelved, state: Snapshot, at_ms: int) -> Shelved:
    """Return the view with the present progress and time. The month of the view must not have
    changed."""
    if progress_of(state) == found.progress:
        return found
    return structs.replace(found, progress=progress_of(state), at_ms=at_ms)


def _remove_leftovers(root: Path) -> None:
    """Remove the folders of processes that have ended. In containers, all processes may have the
    same process id, so the start time is compared, too."""
    for folder in root.glob(f"{_PREFIX}*"):
        pid, _, rest = folder.name.removeprefix(_PREFIX).partition("-")
        if pid.isdecimal() and rest.partition("-")[0] != _start_of(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _start_of(pid: int) -> str:
    """Return the start time of a process in clock ticks of the kernel. Return "" if the process
    does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19]
