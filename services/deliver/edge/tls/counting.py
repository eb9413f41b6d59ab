"""Counts attempts for TLS reports (RFC 8460, 4.3) and adds them to Redis every few seconds.

The counter counts attempts and not TLS sessions, because one connection carries the mail of many
domains. Owns: the policy type and result type of an attempt, the counts that are not written yet.
Does not own: the counters (shared/store/tls_counts.py). Guarantees: the memory is bounded, and
counting never waits for Redis. While Redis is unavailable, at most MAX_ROWS counts are kept in
memory, and further counts are dropped. A crash loses the counts of the last seconds. If the answer
of Redis to a call is lost, the counts of this call may be added twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import astuple

from services.deliver.core.attempt.results import Outcome
from services.deliver.core.tls.policy import PolicyName
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable
from shared.store.tls_counts import TlsCount

log = logging.getLogger(__name__)

SUCCESS: Final = "success"
STS: Final = "sts"
RESULT_TYPES: Final = frozenset(
    {
        "starttls-not-supported",
        "certificate-host-mismatch",
        "certificate-not-trusted",
        "certificate-expired",
        "validation-failure",
        "tlsa-invalid",
        "dnssec-invalid",
        "dane-required",
        "sts-policy-fetch-error",
        "sts-policy-invalid",
        "sts-webpki-invalid",
    }
)
_TYPES: Final[dict[str, str]] = {
    PolicyName.DANE: "tlsa",
    PolicyName.MTA_STS: STS,
    PolicyName.MTA_STS_TESTING: STS,
}
_NO_POLICY: Final = "no-policy-found"

FLUSH_S: Final = 5.0
MAX_ROWS: Final = 20_000
DAY_S: Final = 86_400
DAY_MS: Final = DAY_S * 1_000

Add = Callable[[str, Mapping[TlsCount, int]], Awaitable[None]]


class TlsCounter:
    """The counts of one process. `add` adds the counts of a day to Redis."""

    def __init__(self, add: Add, clock: Clock) -> None:
        self._add = add
        self._clock = clock
        # The key consists of the number of days since 1970 and the fields of a TlsCount. It is a
        # tuple because the hash of a Struct takes longer, and each attempt needs the hash several
        # times.
        self._counts: Counter[tuple[int, str, str, str]] = Counter()

    def attempt(self, domain: str, outcome: Outcome) -> None:
        """Count an attempt for a recipient domain."""
        if found := counted_as(outcome):
            self._count(domain, *found)

    def policy_fault(self, domain: str, fault: str) -> None:
        """Count a policy that could not be fetched or used."""
        self._count(domain, STS, result_type(fault))

    def _count(self, domain: str, policy: str, result: str) -> None:
        key = self._clock.now_ms() // DAY_MS, domain, policy, result
        number = self._counts.get(key, 0)
        if number or len(self._counts) < MAX_ROWS:
            self._counts[key] = number + 1

    async def flush(self) -> None:
        """Write the counts. If the write fails, the counts are kept for the next call."""
        taken, self._counts = self._counts, Counter()
        for day in sorted({day for day, *_ in taken}):
            rows = {
                TlsCount(*count): number for (its, *count), number in taken.items() if its == day
            }
            try:
                await self._add(f"{datetime.fromtimestamp(day * DAY_S, UTC):%Y-%m-%d}", rows)
            except Unavailable as error:
                log.info(
                    "TLS counts could not be written; they are kept and written later",
                    extra={"reason": str(error)},
                )
                self._counts.update(
                    {(day, *astuple(count)): number for count, number in rows.items()}
                )


def counted_as(outcome: Outcome) -> tuple[str, str] | None:
    """Return the policy type and the result of an attempt, or None if there was no connection.

    A connection in clear text counts as a failure even if the domain has no policy, because a
    report shows how mail would be delivered under a policy.
    """
    if not outcome.tls_policy:
        return None
    kind = _TYPES.get(outcome.tls_policy, _NO_POLICY)
    if outcome.tls_fault:
        return kind, result_type(outcome.tls_fault)
    return kind, SUCCESS if outcome.tls else "starttls-not-supported"


def result_type(fault: str) -> str:
    """Return the result type at the beginning of a fault, or `validation-failure` by default."""
    found = fault.partition(":")[0]
    return found if found in RESULT_TYPES else "validation-failure"
