"""Counts one batch of the merged log: finds the changed counters and the entries to write.

Counting has two steps. First, read_batch() decodes the records and lists the counters that they
need. The caller reads these counters from the store. Then count_batch() counts the batch.

This module owns the decision whether a bounce is counted, the rules for counting a log, and the
digest of these rules. If an operator's review covers a bounce, the review decides whether the
bounce is counted. Otherwise, the bounce is counted unless it is part of an open incident at the
provider. If the digest of stored counters is not the present digest, the rules have changed, and
the log is counted again. Thus the counters depend only on the log and the rules, not on the time
when a rule was added. This module does not own incidents (incidents.py) and the effect of a bounce
on its counter (counting.py). This module does no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
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
    IncidentPolicy,
    Incidents,
    decode_incidents,
    encode_incidents,
)
from shared.responses.counting.merging import Merged, Source
from shared.topics.codec import CodecError
from shared.topics.control import Review, ReviewVerdict
from shared.topics.names import EVENTS
from shared.topics.suppressions import (
    CounterReset,
    Suppression,
    decode_suppression,
    field_of,
)

# Facts of these kinds change no counter.
_NEEDS_NONE = frozenset({FactKind.COMPLAINED, FactKind.UNSUBSCRIBED, FactKind.OTHER})
# Python looks up an enum member each time that the code uses the member. A look-up takes 0.1 µs.
_DELIVERED: Final = FactKind.DELIVERED
_HARD: Final = FactKind.HARD
# The status that is used for a bounce without a status, because incidents are found by status.
_NO_STATUS = "none"

_DIGEST_BYTES: Final = 16


class Step(Struct, frozen=True, gc=False):
    """A fact or a reset, with its place in the log.

    `field` is the field of the counter that the step changes. `field` is empty if no counter
    changes.
    """

    what: Fact | CounterReset
    field: bytes
    at_ms: int
    source: Source
    offset: int


class CountingRules(Struct, frozen=True):
    """The policy for incidents, and the active reviews in a fixed order."""

    policy: IncidentPolicy = IncidentPolicy()
    reviews: tuple[Review, ...] = ()

    def verdict_of(self, fact: Fact, at_ms: int) -> ReviewVerdict | None:
        """Return the verdict of the reviews on a bounce. Return None if no review covers it.

        If one of the reviews that cover the bounce excludes the bounce, the verdict is EXCLUDED.
        """
        found = None
        for review in self.reviews:
            if is_in(review, fact, at_ms):
                if review.verdict is ReviewVerdict.EXCLUDED:
                    return review.verdict
                found = review.verdict
        return found

    def digest(self) -> bytes:
        """Return a digest of the rules. Different rules have different digests."""
        reviews = [
            (each.provider, each.status, each.from_ms, each.until_ms, each.verdict)
            for each in self.reviews
        ]
        raw = msgspec.json.encode((msgspec.to_builtins(self.policy), reviews))
        return hashlib.blake2b(raw, digest_size=_DIGEST_BYTES).hexdigest().encode()


class Judging(Struct, frozen=True):
    """The rules and the present incidents, which together decide whether a bounce is counted."""

    rules: CountingRules = CountingRules()
    incidents: Incidents = field(default_factory=Incidents)


class Read(Struct, frozen=True):
    """The steps of a batch, in order, and the number of records that could not be read."""

    steps: Sequence[Step]
    unreadable: int

    def fields(self) -> list[bytes]:
        """Return the fields of all counters that the steps need, without duplicates."""
        return list(dict.fromkeys(step.field for step in self.steps if step.field))


class Counted(Struct, frozen=True):
    """The result: the changed counters, the suppression entries to write, and the incidents.

    `held` has the number of new bounces that are not counted, by provider and status.
    """

    counters: dict[bytes, BounceCounter]
    entries: list[Suppression]
    incidents: Incidents = field(default_factory=Incidents)
    held: dict[tuple[str, str], int] = {}


def read_batch(batch: Sequence[Merged], events_topic: str = EVENTS) -> Read:
    """Decode the records of a batch. Unreadable records are counted and skipped."""
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
    judging: Judging = Judging(),  # noqa: B008 - the default is never changed
) -> Counted:
    """Count the steps. The counters and incidents are the state before the first step.

    `done` contains an offset for each source. Records before that offset lead to no entries,
    because their entries were written when these records were first counted. If a client is not
    registered, `limits_of` returns None, and the client gets no entries.
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
        elif before is NO_BOUNCES and what.kind is _DELIVERED:
            continue  # Most steps have a fact of this kind and change nothing.
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


def rules_of(policy: IncidentPolicy, reviews: Iterable[Review]) -> CountingRules:
    """Return the rules that consist of this policy and of the active reviews."""
    active = [each for each in reviews if each.active]
    active.sort(key=lambda each: (each.from_ms, each.until_ms, each.provider, each.status))
    return CountingRules(policy, tuple(active))


def is_in(review: Review, fact: Fact, at_ms: int) -> bool:
    """Return True if a review covers this bounce."""
    return (
        review.from_ms <= at_ms < review.until_ms
        and review.provider in (fact.provider, fact.recipient.rpartition("@")[2])
        and review.status in ("", fact.status)
    )


def _counts(fact: Fact, at_ms: int, rules: CountingRules, incidents: Incidents) -> bool:
    """Record the provider's outcome. Return True if the recipient's counter must count it."""
    is_hard = fact.kind is _HARD
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
        return None  # The reader of mail.suppressions reports this error.
    return found if isinstance(found, CounterReset) else None


def _field(what: Fact | CounterReset) -> bytes:
    if isinstance(what, Fact) and what.kind in _NEEDS_NONE:
        return b""
    return field_of(what.client, what.recipient)
