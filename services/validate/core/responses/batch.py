"""Counts one batch of the merged log: the changed counters, and the entries to write. Pure.

Two steps, because the counters are read between them: read_batch() decodes the records and names
the counters, count_batch() counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from services.validate.core.responses.counting import Limits, advance, entry_after
from services.validate.core.responses.facts import Fact, FactKind, fact_of
from services.validate.core.responses.merging import Merged, Source
from shared.responses.bounce_counter import NO_BOUNCES, BounceCounter
from shared.topics.codec import CodecError
from shared.topics.names import EVENTS
from shared.topics.suppressions import (
    CounterReset,
    Suppression,
    decode_suppression,
    field_of,
)

# Kinds that change a counter only if there is one.
_NEEDS_NONE = frozenset({FactKind.COMPLAINED, FactKind.UNSUBSCRIBED})


class Step(Struct, frozen=True, gc=False):
    """A fact or a reset, with the field of its counter ("" if it changes none) and its place."""

    what: Fact | CounterReset
    field: bytes
    at_ms: int
    source: Source
    offset: int


class Read(Struct, frozen=True):
    """The steps of a batch, in order, and the number of records that could not be read."""

    steps: Sequence[Step]
    unreadable: int

    def fields(self) -> list[bytes]:
        """Return the fields of all counters that the steps need, each once."""
        return list(dict.fromkeys(step.field for step in self.steps if step.field))


class Counted(Struct, frozen=True):
    """The counters that changed, and the entries that follow."""

    counters: dict[bytes, BounceCounter]
    entries: list[Suppression]


def read_batch(batch: Sequence[Merged], events_topic: str = EVENTS) -> Read:
    """Decode the records of a batch. Never raises for the content of a record."""
    steps = []
    unreadable = 0
    for at_ms, source, record in batch:
        try:
            what = fact_of(record) if source.topic == events_topic else _reset_of(record.value)
        except ValueError:
            unreadable += 1
            continue
        if what is not None:
            steps.append(Step(what, _field(what), at_ms, source, record.offset))
    return Read(steps, unreadable)


def count_batch(
    steps: Sequence[Step],
    counters: Mapping[bytes, BounceCounter],
    done: Mapping[Source, int],
    limits_of: Callable[[str], Limits | None],
) -> Counted:
    """Count the steps on top of these counters.

    Entries follow only from records at or after the offsets `done` of their source: those of
    earlier records were written when they were counted for the first time. A client that is not
    registered (limits None) gets no entries.
    """
    changed: dict[bytes, BounceCounter] = {}
    entries: list[Suppression] = []
    for step in steps:
        field, what = step.field, step.what
        before = changed.get(field) or counters.get(field, NO_BOUNCES)
        if isinstance(what, CounterReset):
            after = NO_BOUNCES
        else:
            after = advance(before, what)
            is_new = step.offset >= done.get(step.source, 0)
            limits = limits_of(what.client) if is_new else None
            if limits is not None:
                found = entry_after(before, after, what, limits, step.at_ms)
                entries += [found] if found else []
        if after != before:
            changed[field] = after
    return Counted(changed, entries)


def _reset_of(value: bytes | None) -> CounterReset | None:
    try:
        found = decode_suppression(value) if value else None
    except CodecError:
        return None  # the follower of the suppressions reports it
    return found if isinstance(found, CounterReset) else None


def _field(what: Fact | CounterReset) -> bytes:
    if isinstance(what, Fact) and what.kind in _NEEDS_NONE:
        return b""
    return field_of(what.client, what.recipient)
