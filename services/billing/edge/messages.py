"""Reads the ids of the mails that a counter counts, from mail.events or from an archive of
mail.events.

This module decides at which offsets reading begins and ends. Reading ends at the offsets up to
which the events were counted, so the number of ids is equal to the count. Reading begins at the
records that the broker stored one day before the month. This is early enough, because an event is
stored after it happened. An event can be earlier in the log only if it was dated in the future when
it was stored. With `from_start`, the whole log is read. Memory is bounded for any number of ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from services.billing.core.month import Months
from services.billing.core.usage_messages import ListedMail, Unnamed, Wanted, listed
from shared.runtime.errors import Unavailable
from shared.stream.kafka_python.fetching import UndecodableRecord

_DAY_MS: Final = 86_400_000


class OtherEvents(Unavailable):
    """The events of another log were counted, not the events of the log to read."""


class ReadsEvents(Protocol):
    """The events to read: EventLog, Archive or JoinedLog."""

    def id(self) -> str:
        """Return the id of the topic."""
        ...

    def committed_ends(self) -> dict[int, int]:
        """Return the last stable offset of each partition."""
        ...

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield runs of the records before the offsets in `ends`."""
        ...

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        """Return, for each partition, the offset of the first record with this time or a later
        time. A partition without such a record is left out."""
        ...


def list_messages(
    log: ReadsEvents,
    wanted: Wanted,
    months: Months,
    counted: tuple[str, Mapping[int, int]],
    *,
    from_start: bool = False,
    unnamed: Unnamed | None = None,
) -> Iterator[ListedMail]:
    """Yield the mails that a counter counts. `counted` has the id of the log that was counted, and
    the offsets up to which the log was counted.

    The number of received mails whose ids are not in the tallies is added to `unnamed`. Raises
    OtherEvents. Raises PartUnavailable if Kafka is unavailable.
    """
    log_id, offsets = counted
    if log_id not in ("", log.id()):
        raise OtherEvents(f"the counts are of the log {log_id}, mail.events is {log.id()}")
    present = log.committed_ends()
    ends = {part: min(end, present.get(part, 0)) for part, end in offsets.items()}
    starts: dict[int, int] = {}
    if not from_start:
        found = log.offsets_at(max(0, months.begin_ms(wanted.month) - _DAY_MS))
        # A partition is not read if it has no record of this time or later.
        starts = {part: found.get(part, end) for part, end in ends.items()}
    for _, records in log.read(ends, starts):
        for record in records:
            if isinstance(record, UndecodableRecord):
                continue
            yield from listed(record, wanted, months, unnamed)
