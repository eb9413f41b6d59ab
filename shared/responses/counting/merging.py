"""Merges the partitions of several topics into one log, ordered by append time.

The bounces and deliveries of a recipient are spread over the partitions of mail.events, and resets
are on another topic. Counting needs one order for all records. The order must be the same when the
topics are read again later, so the records are sorted by append time, source and offset. A record
is returned only when no partition can deliver an earlier record any more. This module does no I/O.

A place in this log is one offset per source. The counters are stored together with the place up to
which bounces have been counted. The place is stored as text.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

NEVER: Final = -1
_places: Final = msgspec.json.Decoder(dict[str, int])


class Source(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Merged(NamedTuple):
    """A record, its source, and its append time in Unix milliseconds."""

    at_ms: int
    source: Source
    record: Any  # A record with the attributes `offset` and `timestamp`.


class MergedLog:
    """The records that have been read but not yet returned by take()."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._queues: dict[Source, deque[Any]] = {each: deque() for each in sorted(sources)}
        # Records of a source that are added later are not earlier than this time.
        self._read_until: dict[Source, int] = dict.fromkeys(self._queues, NEVER)
        self._last: dict[Source, int] = dict.fromkeys(self._queues, NEVER)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def waiting(self, source: Source) -> int:
        """Return the number of records of this source that take() has not returned yet."""
        return len(self._queues[source])

    def has_given(self, source: Source, end: int) -> bool:
        """Return True if take() has returned all added records of the source below `end`."""
        queue = self._queues[source]
        return not queue or queue[0].offset >= end

    def add(self, source: Source, records: Sequence[Any]) -> None:
        """Add the next records of a source."""
        self._queues[source].extend(records)

    def note_read(self, source: Source, until_ms: int) -> None:
        """Record that all records of the source before this time have been added."""
        self._read_until[source] = max(until_ms, self._read_until[source])

    def take(self, most: int) -> list[Merged]:
        """Remove and return the next records whose order is certain. `most` limits their number."""
        heap = [(self._time(each), each) for each, queue in self._queues.items() if queue]
        heapq.heapify(heap)
        bound = min(
            (self._read_until[each] for each, queue in self._queues.items() if not queue),
            default=None,
        )
        taken: list[Merged] = []
        while heap and len(taken) < most:
            at_ms, source = heap[0]
            if bound is not None and at_ms >= bound:
                break
            queue = self._queues[source]
            taken.append(Merged(at_ms, source, queue.popleft()))
            self._last[source] = at_ms
            if queue:
                heapq.heapreplace(heap, (self._time(source), source))
            else:
                heapq.heappop(heap)
                # The next record of this source is not earlier than this record.
                until = max(self._read_until[source], at_ms)
                bound = until if bound is None else min(bound, until)
        return taken

    def _time(self, source: Source) -> int:
        """Return the next record's time. The times never decrease, even if a clock is set back."""
        return max(int(self._queues[source][0].timestamp), self._last[source])


def encode_place(offsets: Mapping[Source, int]) -> str:
    """Return the text of a place in the log. Equal places have equal texts."""
    named = {f"{topic}/{partition}": offset for (topic, partition), offset in offsets.items()}
    return msgspec.json.encode(named, order="deterministic").decode()


def decode_place(text: str) -> dict[Source, int]:
    """Return the offsets of a place."""
    named: dict[str, int] = _places.decode(text) if text else {}
    parts = ((name.rpartition("/"), offset) for name, offset in named.items())
    return {Source(topic, int(partition)): offset for (topic, _, partition), offset in parts}
