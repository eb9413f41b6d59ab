"""Decides what each pool of one process may send, and how replies of servers change this.

Owns: the connection between the pure parts (core/shaping) and the loop, the store and the metrics.
Does not own: the pools. Guarantees: no call of a pool waits for the store. While the store fails,
each worker can still use its share of each limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.attempt.results import Refusal, TransactionResult
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.routing.sites import Site
from services.deliver.core.shaping.group import Group
from services.deliver.core.shaping.holds import DEFAULT_LANE, LaneHolds, RetryHolds
from services.deliver.core.shaping.keys import Destination, Party, scope_key
from services.deliver.core.shaping.suspensions import Event
from services.deliver.core.shaping.throttle import Held, Throttle
from services.deliver.edge.shaping.lease_client import LeaseClient, Stores
from shared.runtime.clock import Clock
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply
from shared.topics.records import Envelope
from shared.topics.reputation import WarmupState

log = logging.getLogger(__name__)

SUSPENDED: Final = Metric(
    "sluice_deliver_suspended", "Keys (providers, sites, sources, clients) that get no mail now."
)
SLOWED: Final = Metric("sluice_deliver_slowed_down", "Keys whose rate is lowered now.")
ALONE: Final = Metric(
    "sluice_deliver_limits_by_share",
    "1 while Redis cannot be asked and this process keeps to its share of each limit, else 0.",
)
HELD: Final = Metric(
    "sluice_deliver_held",
    "Messages deferred without an attempt: over a limit, or suspended.",
    ("why",),
)
REACTIONS: Final = Metric(
    "sluice_deliver_shaping_replies", "Replies that changed how mail is sent.", ("action", "scope")
)


OVERFLOWS: Final = Metric(
    "sluice_deliver_warmup_overflows",
    "Messages that another source of the pool sends, because this source is warming up.",
    ("source",),
)


class Counts(Struct, frozen=True):
    """The counters."""

    overflows: Counter
    held: Counter
    reactions: Counter


class Waiter(Protocol):
    """A pool in which mail waits for a limit."""

    def go_on(self) -> None:
        """Check the waiting mail again, because a limit was granted."""
        ...


class Shaper:
    """The shaping of one process. Use it in one event loop."""

    def __init__(
        self, throttle: Throttle, stores: Stores, worker: str, clock: Clock, counters: Counters
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._throttle = throttle
        self._clock = clock
        self.client = LeaseClient(throttle, stores, worker, clock, self._granted)
        self.lanes = LaneHolds(throttle.suspensions, self._at)
        self.retry_holds = RetryHolds(self.suspended, self._loop.time)
        self._task: asyncio.Task[None] | None = None
        self._waiters: set[Waiter] = set()
        # The address from which mail to a destination was last sent, by the key of the destination.
        self._sources: dict[str, str] = {}
        self._counts = Counts(
            counters.counter(OVERFLOWS), counters.counter(HELD), counters.counter(REACTIONS)
        )
        self._watch(counters)

    def _watch(self, counters: Counters) -> None:
        counters.watch(SUSPENDED, lambda: float(self._count(lambda s, at: s.is_suspended(at))))
        counters.watch(SLOWED, lambda: float(self._count(lambda s, at: s.factor_at(at) < 1)))
        counters.watch(ALONE, lambda: float(bool(self.client.fault)))

    def _count(self, holds: Callable[..., bool]) -> int:
        at = self._at()
        return sum(holds(state, at) for state in self._throttle.suspensions.all())

    def start(self) -> None:
        """Start asking the store."""
        self._task = self._loop.create_task(self.client.run())

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def status(self) -> str:
        """Return a note for /ready on why the limits are not shared, or "" if they are shared."""
        return self.client.fault and f"each worker keeps to its share: {self.client.fault}"

    def destination(self, domain: str, site: Site) -> Destination:
        """Return the destination of mail for a domain, with its provider."""
        names = (host.name for host in site.hosts)
        provider = self._throttle.rules.provider_of(domain, names)
        return Destination(domain, site.name, provider, site.is_override)

    def pool_limits(self, to: Destination, base: PoolLimits) -> PoolLimits:
        """Return the limits of this worker's pool, with a share of at least one connection."""
        found = {key: each.value for key, each in self._throttle.rules.settings(to).items()}
        connections = found.get("connections", base.max_connections)
        assert isinstance(connections, int)
        share = max(1, connections // self._throttle.workers.count)
        messages = found.get("messages_per_connection", base.max_messages_per_connection)
        idle_s = found.get("idle_timeout", base.idle_timeout_s)
        assert isinstance(messages, int)
        assert isinstance(idle_s, float)
        opens = found.get("connections_per_s", 0.0)
        assert isinstance(opens, float)
        return replace(
            base,
            opens_per_s=opens / self._throttle.workers.count,
            max_connections=min(share, base.max_connections),
            max_messages_per_connection=min(messages, base.max_messages_per_connection),
            idle_timeout_s=min(idle_s, base.idle_timeout_s),
        )

    def retry_steps(self, to: Destination) -> tuple[str, ...]:
        """Return the retry steps that the rules set for a destination, or () if they set none."""
        found = self._throttle.rules.settings(to).get("retry")
        return tuple(map(str, found.value)) if found and isinstance(found.value, tuple) else ()

    def group(self, envelope: Envelope, to: Destination, source: str = "") -> Group:
        """Return the group of a message that is sent from the source with this name."""
        domain = envelope.sender.rpartition("@")[2]
        key = (to, envelope.client, envelope.mailing_id, domain, source)
        found = self._throttle.groups.get(key)
        if found is None:
            found = self._throttle.group(to, Party(*key[1:]), self._at())
        if envelope.due_at_ms:
            self.retry_holds.note(envelope, found)
        return found

    def held(self, group: Group, lane: str = "", *, is_back: bool = False) -> Held | None:
        """Return why a message of the group is not offered now, or None if it may wait in its pool.

        `is_back` is True if the message was deferred before and is now due. `lane` is the lane from
        which the message was read, or "". If a limit applies to all mail of a lane, the message is
        not held, because the lane is read more slowly.
        """
        is_of_lane = bool(lane) and lane != DEFAULT_LANE and self._is_lane_of(lane, group)
        # In most cases, this test is enough, and neither the time nor each single limit has to be
        # checked.
        if not self._throttle.suspensions.has_any and (
            group.warmup is None if is_of_lane else group.has_room()
        ):
            return None
        source, now, at = self._source_of(group), self._loop.time(), self._at()
        # If a source may send no more today, it does not help to read the lane more slowly.
        if is_of_lane and not group.is_warmed_out(now):
            found = self._throttle.held_back(group, at, source)
        else:
            found = self._throttle.held(group, now, at, source, is_back=is_back)
        if found is not None:
            self._counts.held.add(1, "limit" if found.reason.startswith("Over") else "suspended")
        return found

    def is_used_up(self, group: Group) -> bool:
        """Return whether a window of this group stays used up for longer than mail may wait."""
        now = self._loop.time()
        return any(each.is_used_up(now) for each in group.allowances)

    def used_up(self, group: Group) -> Held | None:
        """Give one message of the group its turn, and return the delay.

        The result is None if no window is used up.
        """
        found = self._throttle.used_up(group, self._loop.time())
        if found is not None:
            self._counts.held.add(1, "limit")
        return found

    def reads_slowly(self, lane: str, group: Group) -> bool:
        """Return True if a limit of this group delays the reading of the lane, not one message."""
        return self.lanes.goes_to(lane, group.keys[0])

    def _is_lane_of(self, lane: str, group: Group) -> bool:
        """Return whether all mail of this lane goes to the destination of this group."""
        return self.lanes.is_of_one(lane, group.keys[0], group.destination_share_per_s)

    def _source_of(self, group: Group) -> str:
        """Return the local address if the source has no name.

        If the source has a name, return "", because the name is already a key of the group.
        """
        return "" if group.sender.source else self._sources.get(group.to.key, "")

    def suspended(self, group: Group) -> bool:
        """Return whether this group is suspended now."""
        source = self._source_of(group)
        return self._throttle.suspension(group, self._at(), source) is not None

    def is_warmed_out(self, group: Group) -> bool:
        """Return whether the source of this group warms up and may send no more today."""
        return group.is_warmed_out(self._loop.time())

    def overflows(self, group: Group) -> bool:
        """Return True if another source must send a new message because this source warms up."""
        found = group.overflows(self._loop.time())
        if found:
            self._counts.overflows.add(1, group.sender.source)
        return found

    def warm_up(self, states: Iterable[WarmupState]) -> None:
        """Apply the warm-up steps from mail.reputation."""
        self._throttle.warm_up(states)

    def blocked(self, waiter: Waiter) -> None:
        """Register a pool whose mail waits for a limit.

        The pool is called once, after the next answer of the store.
        """
        self._waiters.add(waiter)
        self.client.want()

    def _granted(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            waiter.go_on()

    def ended(self, group: Group, result: TransactionResult, source: str) -> None:
        """React to the end of a transaction, because its reply may change how mail is sent."""
        if source and not group.sender.source:
            self._sources[group.keys[0]] = source  # the key is the destination
        # This test is the same as Reply.is_positive, but it avoids a call for nearly every reply.
        if isinstance(result, Finished) and not 200 <= result.reply.code < 300:
            self._react(group, result.stage, result.reply, source)

    def refused(self, group: Group, refusal: Refusal) -> None:
        """React to a refused connection."""
        source = self._source_of(group)
        self._react(group, refusal.stage, refusal.reply, source)

    def _react(self, group: Group, stage: Stage, reply: Reply, source: str) -> None:
        to = group.to
        rules = self._throttle.rules.replies
        rule = rules.match(to.provider, stage, reply, is_override=to.is_override)
        if rule is None:
            return
        key = scope_key(rule.scope, group.to, group.sender, source)
        event = Event(rule.action, rule.for_s, str(reply)[:200])
        state = self._throttle.suspensions.happen(key, event, self._at())
        if state is None:
            return
        self._counts.reactions.add(1, rule.action.value, rule.scope.value)
        log.warning("%s: %s for %d s: %s", key, rule.action, rule.for_s, event.reason)
        self._throttle.refresh(self._loop.time(), self._at())
        self.client.share(state)

    def _at(self) -> float:
        return self._clock.now_ms() / 1000
