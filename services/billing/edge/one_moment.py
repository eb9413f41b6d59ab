"""Reads the cells of many months at one moment, and follows the number of accepted messages of a
month.

Some stores copy the months that are being read. To limit the size of the copy to one month, the
months are read one after another. In the store, each month has a version number. Every change of
the month increases this number. If a month has not changed after it was read, its counts are still
correct at the end of the whole read. The returned watermarks are from the end of the read. Months
that have changed are read again, all in one step. Such steps are repeated until no month has
changed. They come to an end, because each step reads more months than the step before. The last
month changes most often, so it is read last.

For the quotas, all cells of the month are read once. After that, only the changes are read, because
a read of a million cells takes seconds of CPU time, and only a few cells change within seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from services.billing.core.cells import Cell, decode_cell
from services.billing.core.quotas import COUNTED, Accepted, add_accepted
from services.billing.edge.cells import Cells, Follower
from shared.store.read_cells import Counts, Snapshot
from shared.store.read_pieces import as_copy_if_changed

Takes = Callable[[Sequence[str], Snapshot, Counts], None]
MonthCounts = tuple[str, Iterator[tuple[str, Cell, int]]]


class AcceptedMail:
    """The number of messages that were accepted for sending in a month, by client and sub-client.
    Not thread-safe.

    The memory use grows with the number of sub-clients. After a failure, the whole month is read
    again.
    """

    def __init__(self, cells: Cells) -> None:
        self._follower: Follower = cells.follow(COUNTED)
        self._sums: dict[tuple[str, str], int] = {}

    def read(self, month: str) -> tuple[Snapshot, Accepted]:
        """Return the snapshot, and the numbers of messages accepted in this month. If cells are
        lost, no numbers are returned.

        Raises StoreUnavailable.
        """
        return as_copy_if_changed(lambda: self._read(month))

    def close(self) -> None:
        """Release the resources of the follower."""
        self._follower.close()

    def _read(self, month: str) -> tuple[Snapshot, Accepted]:
        with self._follower.reading(month) as moment:
            sums = self._sums if moment.are_changes else {}
            add_accepted(sums, ((decode_cell(name), count) for _, name, count in moment.counts))
            self._sums = sums
            return moment.snapshot, dict(sums)


def read_at_one_moment(
    cells: Cells,
    months_of: Callable[[Snapshot], Iterable[str]],
    take: Takes,
) -> Snapshot:
    """Read the months that `months_of` returns, so that all cells are from the same moment. Return
    the snapshot of this moment, without cells.

    `take` is called with months, their snapshot and their cells. If `take` gets a month again, it
    must discard the earlier cells of this month. If some cells are lost, the returned snapshot has
    `whole` = False. Raises StoreUnavailable.
    """
    seen: dict[str, tuple[str, int]] = {}
    found = cells.read()
    for month in sorted(months_of(found))[:-1]:
        moment = _taken(cells, [month], take)
        seen[month] = _version(moment, month)
    found = cells.read()
    together: set[str] = set()
    while found.whole:
        wanted = {*months_of(found), *seen}
        changed = {month for month in wanted if seen.get(month) != _version(found, month)}
        if not changed:
            break
        together |= changed
        found = _taken(cells, sorted(together), take)
        seen |= {month: _version(found, month) for month in together}
    return found


def _taken(cells: Cells, months: Sequence[str], take: Takes) -> Snapshot:
    """Pass these months to `take`. If the months change during the read, read them again from
    copies."""

    def read() -> Snapshot:
        with cells.reading(*months) as (moment, counts):
            take(months, moment, counts)
            return moment

    return as_copy_if_changed(read)


def by_month(months: Sequence[str], counts: Counts) -> Iterator[MonthCounts]:
    """Yield each of these months with its decoded cells. Months without cells are yielded last."""
    for month, named in by_name(months, counts):
        yield month, _decoded(month, named)


def by_name(
    months: Sequence[str], counts: Counts
) -> Iterator[tuple[str, Iterator[tuple[str, int]]]]:
    """Yield each of these months like by_month(), but with the stored names of the cells instead of
    the decoded cells."""
    missing = set(months)
    for month, group in groupby(counts, lambda each: each[0]):
        missing.discard(month)
        yield month, ((name, number) for _, name, number in group)
    for month in sorted(missing):
        yield month, iter(())


def _decoded(month: str, named: Iterator[tuple[str, int]]) -> Iterator[tuple[str, Cell, int]]:
    return ((month, decode_cell(name), number) for name, number in named)


def _version(found: Snapshot, month: str) -> tuple[str, int]:
    return found.generation, found.versions.get(month, 0)
