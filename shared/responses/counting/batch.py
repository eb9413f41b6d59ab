"""Counts one batch of the merged log: the changed counters, and the entries to write. Pure.

Two steps, because the counters are read between them: read_batch() decodes the records and names
the counters, count_batch() counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from shared.responses.counting.counting import (
    NO_BOUNCES,
    BounceCounter,
    Limits,
    advance,
    entry_after,
)
from shared.responses.counting.facts import OUTCOMES, Fact, FactKind, fact_of
from shared.responses.counting.incidents import (
    Incidents,
    decode_incidents,
    encode_incidents,
)
from shared.responses.counting.merging import Merged, Source
from shared.responses.counting.reviewing import CountingRules
from shared.topics.codec import CodecError
from shared.topics.control import ReviewVerdict
from shared.topics.names import EVENTS
from shared.topics.suppressions import (
    CounterReset,
    Suppression,
    decode_suppression,
    field_of,
)

# Kinds that change a counter only if there is one.
_NEEDS_NONE = frozenset({FactKind.COMPLAINED, FactKind.UNSUBSCRIBED, FactKind.OTHER})
# An incident concerns a status; a reply may have none.
_NO_STATUS = "none"


class Step(Struct, frozen=True, gc=False):
    """A fact or a reset, with the field of its counter ("" if it changes none) and its place."""

    what: Fact | CounterReset
    field: bytes
    at_ms: int
    source: Source
    offset: int


class Judging(Struct, frozen=True):
    """What decides whether a bounce counts: the rules, and the incidents so far."""

    rules: CountingRules = CountingRules()
    incidents: Incidents = field(default_factory=Incidents)


class Read(Struct, frozen=True):
    """The steps of a batch, in order, and the number of records that could not be read."""

    steps: Sequence[Step]
    unreadable: int

    def fields(self) -> list[bytes]:
        """Return the fields of all counters that the steps need, each once."""
        return list(dict.fromkeys(step.field for step in self.steps if step.field))


class Counted(Struct, frozen=True):
    """The counters that changed, the entries that follow, and what is known of incidents then.

    `held`: the new bounces that an incident holds back, by provider and status.
    """

    counters: dict[bytes, BounceCounter]
    entries: list[Suppression]
    incidents: Incidents = field(default_factory=Incidents)
    held: dict[tuple[str, str], int] = {}


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
    judging: Judging = Judging(),  # noqa: B008 - never changed
) -> Counted:
    """Count the steps on top of these counters and incidents.

    Entries follow only from records at or after the offsets `done` of their source: those of
    earlier records were written when they were counted for the first time. A client that is not
    registered (limits None) gets no entries.
    """
    changed: dict[bytes, BounceCounter] = {}
    entries: list[Suppression] = []
    incidents = decode_incidents(encode_incidents(judging.incidents))
    held: dict[tuple[str, str], int] = {}
    for step in steps:
        name, what = step.field, step.what
        if isinstance(what, Fact) and not _counts(what, step.at_ms, judging.rules, incidents):
            if step.offset >= done.get(step.source, 0):
                key = (what.provider, what.status)
                held[key] = held.get(key, 0) + 1
            continue
        before = changed.get(name) or counters.get(name, NO_BOUNCES)
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
            changed[name] = after
    return Counted(changed, entries, incidents, held)


def _counts(fact: Fact, at_ms: int, rules: CountingRules, incidents: Incidents) -> bool:
    """Note the outcome, and return whether it counts."""
    is_hard = fact.kind is FactKind.HARD
    is_held = False
    if fact.kind in OUTCOMES:
        status = (fact.status or _NO_STATUS) if is_hard else ""
        is_held = incidents.note(fact.provider, status, at_ms, rules.policy)
    if not rules.reviews or not (is_hard or fact.kind is FactKind.SOFT):
        return not is_held
    verdict = rules.verdict_of(fact, at_ms)
    return not is_held if verdict is None else verdict is ReviewVerdict.COUNTED


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
