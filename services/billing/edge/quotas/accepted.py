"""Keeps what was accepted to be sent in a month, by client and sub-client, up to date.

The cells of the whole month are read once; after that, what has changed (a million cells take
seconds of CPU time, and change little in a few seconds). Memory is that of the sub-clients.

On failure: nothing is kept, and the next time reads the whole month. For one thread.
"""

from __future__ import annotations

from services.billing.core.cells import decode_cell
from services.billing.core.quotas.planning import COUNTED, Accepted, add_accepted
from services.billing.edge.cells import Cells, Follower
from shared.store.read_cells import Snapshot
from shared.store.read_pieces import as_copy_if_changed


class AcceptedMail:
    """The counts of accepted mail at the last moment that was read."""

    def __init__(self, cells: Cells) -> None:
        self._follower: Follower = cells.follow(COUNTED)
        self._sums: dict[tuple[str, str], int] = {}

    def read(self, month: str) -> tuple[Snapshot, Accepted]:
        """The moment, and what was accepted in this month; nothing if cells are lost.

        Raises StoreUnavailable.
        """
        return as_copy_if_changed(lambda: self._read(month))

    def close(self) -> None:
        """Follow no longer."""
        self._follower.close()

    def _read(self, month: str) -> tuple[Snapshot, Accepted]:
        with self._follower.reading(month) as moment:
            sums = self._sums if moment.are_changes else {}
            add_accepted(sums, ((decode_cell(name), count) for _, name, count in moment.counts))
            self._sums = sums
            return moment.snapshot, dict(sums)
