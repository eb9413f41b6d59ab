"""Follows a month of a store that does not say what has changed: each time has all counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from shared.store.read_cells import Counts, Snapshot
from shared.store.read_changes import Moment


class FollowsWhole:
    """Follows with this way of reading a month. May raise what that raises."""

    def __init__(
        self, read: Callable[[str], AbstractContextManager[tuple[Snapshot, Counts]]]
    ) -> None:
        self._read = read

    @contextmanager
    def reading(self, month: str) -> Iterator[Moment]:
        """The counts of the month at one moment."""
        with self._read(month) as (snapshot, counts):
            yield Moment(snapshot, False, counts)

    def close(self) -> None:
        """Nothing is kept."""
