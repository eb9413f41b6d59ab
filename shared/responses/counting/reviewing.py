"""Whether a bounce counts: an operator's review, or else an incident at its provider. Pure.

Owns: the rules under which a log is counted, and their digest. Counters with another digest were
counted under other rules, and are counted again. So counters follow from the log and the rules
alone, whenever the rules became known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from shared.responses.counting.facts import Fact
from shared.responses.counting.incidents import IncidentPolicy
from shared.topics.control import Review, ReviewVerdict

_DIGEST_BYTES: Final = 16


class CountingRules(Struct, frozen=True):
    """When an incident begins, and the active reviews in a fixed order."""

    policy: IncidentPolicy = IncidentPolicy()
    reviews: tuple[Review, ...] = ()

    def verdict_of(self, fact: Fact, at_ms: int) -> ReviewVerdict | None:
        """Return the verdict on a bounce; None without a review. An exclusion is the stronger."""
        found = None
        for review in self.reviews:
            if is_in(review, fact, at_ms):
                if review.verdict is ReviewVerdict.EXCLUDED:
                    return review.verdict
                found = review.verdict
        return found

    def digest(self) -> bytes:
        """Return what tells these rules from others."""
        told = [
            (each.provider, each.status, each.from_ms, each.until_ms, each.verdict)
            for each in self.reviews
        ]
        raw = msgspec.json.encode((msgspec.to_builtins(self.policy), told))
        return hashlib.blake2b(raw, digest_size=_DIGEST_BYTES).hexdigest().encode()


def rules_of(policy: IncidentPolicy, reviews: Iterable[Review]) -> CountingRules:
    """Return the rules that follow from the present reviews."""
    active = [each for each in reviews if each.active]
    active.sort(key=lambda each: (each.from_ms, each.until_ms, each.provider, each.status))
    return CountingRules(policy, tuple(active))


def is_in(review: Review, fact: Fact, at_ms: int) -> bool:
    """Whether a review is about this bounce."""
    return (
        review.from_ms <= at_ms < review.until_ms
        and review.provider in (fact.provider, fact.recipient.rpartition("@")[2])
        and review.status in ("", fact.status)
    )
