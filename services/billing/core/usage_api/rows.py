"""The rows of a usage answer: read from the views of months, merged and summed up. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from services.billing.core.cells import COUNTERS

Details = dict[str, dict[str, int]]


class UsageRow(Struct, frozen=True, gc=False):
    """One row. `key`: the parts by which rows are grouped, in the order of KEYS."""

    key: tuple[str, ...]
    counts: tuple[int, ...]  # in the order of COUNTERS
    details: Details

    def named(self, group: Sequence[str]) -> dict[str, Any]:
        """By name, for JSON."""
        values = (*self.key, *self.counts, self.details)
        return dict(zip((*group, *COUNTERS, "details"), values, strict=True))


NO_COUNTS: Final = (0,) * len(COUNTERS)


def merged(months: Sequence[Iterable[UsageRow]]) -> Iterator[UsageRow]:
    """Merge ordered rows of several months; rows with equal keys become one."""
    if len(months) == 1:
        yield from months[0]
        return
    ordered = heapq.merge(*months, key=lambda row: row.key)
    for key, same in groupby(ordered, key=lambda row: row.key):
        yield summed(key, same)


def summed(key: tuple[str, ...], rows: Iterable[UsageRow]) -> UsageRow:
    """One row with the sums of these."""
    counts, details = list(NO_COUNTS), Details()
    for row in rows:
        counts = [one + other for one, other in zip(counts, row.counts, strict=True)]
        add_details(details, row.details)
    return UsageRow(key, tuple(counts), details)


def add_details(into: Details, details: Details) -> None:
    """Add the details of a row."""
    for counter, words in details.items():
        found = into.setdefault(counter, {})
        for word, number in words.items():
            found[word] = found.get(word, 0) + number


def totals(rows: Iterable[UsageRow]) -> dict[str, Any]:
    """The sums of all rows, by name."""
    return summed((), rows).named(())
