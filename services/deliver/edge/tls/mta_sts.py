"""Finds MTA-STS policies of recipient domains, caches them in memory and Redis, and refreshes them.

A known policy that is valid is returned at once and checked again in the background. For an unknown
domain, the first messages wait at most WAIT_S for the policy. Then they are sent as if the domain
had no policy, as RFC 8461, 3.3 allows. Owns: the cache, the times of the checks. Does not own:
fetching (policy_sources.py), the meaning of a policy (core/tls/sts.py).

Guarantees: policy_of() raises nothing. A policy is used until its max_age is over, even if its
record or its server no longer exists. Redis only reduces the number of fetches. Without Redis, each
process fetches each policy itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from services.deliver.core.routing.sites import Unresolved
from services.deliver.core.tls.policy import StsPolicy
from services.deliver.core.tls.sts import (
    CHECK_NONE_S,
    CHECK_S,
    RETRY_S,
    KnownPolicy,
    StsFault,
    parse_policy,
    parse_txt,
)
from shared.runtime.clock import Clock

log = logging.getLogger(__name__)

WAIT_S: Final = 5.0
# The largest number of remembered domains. The least recently used domain is forgotten first.
MAX_DOMAINS: Final = 50_000
# The largest number of DNS look-ups at a time.
MAX_LOOKS: Final = 50
# The largest number of fetches at a time. It is higher than the number of look-ups, because a
# stalled policy server blocks a fetch for half a minute. A fetch costs a socket and at most 80 KB.
MAX_FETCHES: Final = 200


class PolicyStore(Protocol):
    """Shares policies with other processes. Raises nothing."""

    async def load(self, domain: str) -> KnownPolicy | None:
        """Return the policy that another process has fetched."""
        ...

    async def save(self, domain: str, known: KnownPolicy) -> None:
        """Share a policy with other processes."""
        ...


class _Entry:
    def __init__(self) -> None:
        self.known: KnownPolicy | None = None
        self.check_at = 0.0  # monotonic
        self.task: asyncio.Task[None] | None = None


class MtaSts:
    """The policies of all domains. Use it in one event loop."""

    def __init__(
        self,
        txt: Callable[[str], Awaitable[tuple[str, ...] | Unresolved]],
        fetch: Callable[[str], Awaitable[bytes]],
        store: PolicyStore | None,
        clock: Clock,
        report: Callable[[str, str], None] = lambda domain, fault: None,
    ) -> None:
        """`txt` looks up TXT records. `report` is called with each fault of a domain."""
        self._txt = txt
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._report = report
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._looks = asyncio.Semaphore(MAX_LOOKS)
        self._fetches = asyncio.Semaphore(MAX_FETCHES)

    async def policy_of(self, domain: str) -> StsPolicy | None:
        """Return the valid policy of a domain, or None if no valid policy is known."""
        entry = self._entry(domain)
        if self._clock.monotonic() >= entry.check_at and entry.task is None:
            entry.task = asyncio.create_task(self._look(domain, entry))
        if entry.task is not None and self._valid(entry) is None:
            await asyncio.wait([entry.task], timeout=WAIT_S)
        return self._valid(entry)

    def _entry(self, domain: str) -> _Entry:
        entry = self._entries.get(domain)
        if entry is None:
            entry = self._entries[domain] = _Entry()
            if len(self._entries) > MAX_DOMAINS:
                self._entries.popitem(last=False)
        self._entries.move_to_end(domain)
        return entry

    def _valid(self, entry: _Entry) -> StsPolicy | None:
        known = entry.known
        if known is None or not known.is_valid(self._clock.now_ms() / 1_000):
            return None
        return known.policy

    async def _look(self, domain: str, entry: _Entry) -> None:
        delay_s = RETRY_S
        try:
            delay_s = await self._look_once(domain, entry)
        except StsFault as fault:
            self._report(domain, str(fault))
            log.info(
                "the domain has no usable MTA-STS policy",
                extra={"domain": domain, "reason": str(fault)},
            )
        except Exception:
            log.exception("looking for an MTA-STS policy failed", extra={"domain": domain})
        finally:
            entry.check_at = self._clock.monotonic() + delay_s
            entry.task = None

    async def _look_once(self, domain: str, entry: _Entry) -> float:
        """Look up the record, fetch the policy if needed, and return the time of the next check.

        Raises StsFault.
        """
        async with self._looks:
            rows = await self._txt(f"_mta-sts.{domain}")
        if isinstance(rows, Unresolved):
            return RETRY_S
        record_id = parse_txt(rows)
        if not record_id:
            return CHECK_S if self._valid(entry) is not None else CHECK_NONE_S
        now_s = self._clock.now_ms() / 1_000
        if entry.known is None and self._store is not None:
            entry.known = await self._store.load(domain)
        if entry.known is None or not entry.known.is_current(record_id, now_s):
            async with self._fetches:
                policy = parse_policy(await self._fetch(domain))
            entry.known = KnownPolicy(policy, record_id, now_s)
            if self._store is not None:
                await self._store.save(domain, entry.known)
        return CHECK_S
