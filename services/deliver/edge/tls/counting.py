"""Counts attempts for TLS reports and adds them to Redis every few seconds.

Owns: the counts that are not written yet. Does not own: what an attempt counts as
(core/tls/report.py), the counters (shared/store/tls_counts.py). Guarantees: bounded; counting never
waits for Redis. While Redis is unavailable the counts are kept; what exceeds MAX_ROWS is dropped. A
crash loses the last seconds; a call whose answer is lost may count twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.tls.report import STS, counted_as, result_type
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable
from shared.store.tls_counts import TlsCount

log = logging.getLogger(__name__)

FLUSH_S: Final = 5.0
MAX_ROWS: Final = 20_000
DAY_S: Final = 86_400
DAY_MS: Final = DAY_S * 1_000

Add = Callable[[str, Mapping[TlsCount, int]], Awaitable[None]]


class TlsCounter:
    """The counts of one process; `add` writes those of a day."""

    def __init__(self, add: Add, clock: Clock) -> None:
        self._add = add
        self._clock = clock
        # By day since 1970.
        self._counts: Counter[tuple[int, TlsCount]] = Counter()

    def attempt(self, domain: str, outcome: Outcome) -> None:
        """Count an attempt for a recipient domain."""
        if found := counted_as(outcome):
            self._count(TlsCount(domain, *found))

    def policy_fault(self, domain: str, fault: str) -> None:
        """Count that a policy could not be fetched or used."""
        self._count(TlsCount(domain, STS, result_type(fault)))

    def _count(self, count: TlsCount) -> None:
        day = self._clock.now_ms() // DAY_MS
        if (day, count) in self._counts or len(self._counts) < MAX_ROWS:
            self._counts[day, count] += 1

    async def flush(self) -> None:
        """Write what has been counted; on a failure it is kept."""
        taken, self._counts = self._counts, Counter()
        for day in sorted({day for day, _ in taken}):
            rows = {count: number for (its, count), number in taken.items() if its == day}
            try:
                await self._add(f"{datetime.fromtimestamp(day * DAY_S, UTC):%Y-%m-%d}", rows)
            except Unavailable as error:
                log.info("TLS counts are kept for later", extra={"reason": str(error)})
                self._counts.update({(day, count): number for count, number in rows.items()})
