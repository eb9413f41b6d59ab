"""Finds the suppression entries that a review of a provider's bounces removes or adds.

The log is counted twice for the recipients who have a bounce in the window of the review: once
under the present rules, and once under the rules with the review. The change is the difference
between the two sets of entries. The number of recipients in the window limits the memory. This
module does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from shared.responses.counting.batch import CountingRules, Judging, Step, count_batch, is_in
from shared.responses.counting.counting import BounceCounter, Limits
from shared.responses.counting.facts import Fact, FactKind
from shared.responses.counting.incidents import Incidents, decode_incidents
from shared.topics.control import Review
from shared.topics.suppressions import (
    BY_COUNTER,
    CounterReset,
    RecipientForm,
    Suppression,
    SuppressionReason,
    field_of,
)

Named = tuple[str, str, SuppressionReason]  # client, recipient, reason
_BOUNCES = (FactKind.HARD, FactKind.SOFT)


class Change(Struct, frozen=True):
    """The entries that a review removes or adds, and the number of bounces that it covers."""

    freed: Sequence[Suppression]
    added: Sequence[Suppression]
    bounces: int


def concerned(steps: Iterable[Step], review: Review) -> list[Step]:
    """Return the bounces among these steps that the review covers."""
    return [
        step
        for step in steps
        if isinstance(step.what, Fact)
        and step.what.kind in _BOUNCES
        and is_in(review, step.what, step.at_ms)
    ]


class Recount:
    """Counts a log from its beginning, under the given rules and for the given counters."""

    def __init__(
        self,
        rules: CountingRules,
        fields: frozenset[bytes],
        limits_of: Callable[[str], Limits | None],
    ) -> None:
        self._rules = rules
        self._fields = fields
        self._limits_of = limits_of
        self._incidents: Incidents = decode_incidents(b"")
        self._counters: dict[bytes, BounceCounter] = {}
        self.made: dict[Named, Suppression] = {}

    def count(self, steps: Sequence[Step]) -> None:
        """Count the next steps of the log."""
        start = 0
        for place, step in enumerate(steps):
            if isinstance(step.what, CounterReset) and step.field in self._fields:
                self._count(steps[start : place + 1])
                self._reset(step.what)
                start = place + 1
        self._count(steps[start:])

    def _count(self, steps: Sequence[Step]) -> None:
        judging = Judging(self._rules, self._incidents)
        found = count_batch(steps, self._counters, {}, self._limits_of, judging)
        self._incidents = found.incidents
        for field, counter in found.counters.items():
            if field in self._fields:
                self._counters[field] = counter
        for entry in found.entries:
            if (
                entry.reason in BY_COUNTER
                and field_of(entry.client, entry.recipient) in self._fields
            ):
                self.made[_named(entry)] = entry

    def _reset(self, what: CounterReset) -> None:
        for reason in BY_COUNTER:
            self.made.pop((what.client, what.recipient, reason), None)


def change_between(
    before: Recount, after: Recount, entries: Iterable[Suppression], bounces: int
) -> Change:
    """Return the change. `entries` are all entries of mail.suppressions, even removed entries."""
    active: Mapping[Named, Suppression] = {
        _named(each): each
        for each in entries
        if each.active and each.form is RecipientForm.ADDRESS and each.reason in BY_COUNTER
    }
    ended = sorted(before.made.keys() - after.made.keys())
    come = sorted(after.made.keys() - before.made.keys() - active.keys())
    freed = [active[name] for name in ended if name in active]
    return Change(freed, [after.made[name] for name in come], bounces)


def _named(entry: Suppression) -> Named:
    return entry.client, entry.recipient, entry.reason
