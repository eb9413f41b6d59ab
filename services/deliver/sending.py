"""Composes the parts that send mail: connections, keys, limits, orders, and their regular tasks."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial

from msgspec import Struct

from services.deliver.core.attempt.verdicts import OutcomeRules
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.pool.slow_sites import Room
from services.deliver.core.routing.sites import Routes
from services.deliver.core.shaping.parsing import ShapingFaults
from services.deliver.core.shaping.rules import Rules
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import Workers
from services.deliver.core.sources.checking import Severity
from services.deliver.core.sources.table import SourceFaults, SourceTable, read_sources
from services.deliver.edge.control.control import Control, OrderSource
from services.deliver.edge.control.follower import ControlFollower
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.dns.site_addresses import AddressPolicy
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.reputation.inputs import ProviderLookup
from services.deliver.edge.reputation.keeper import KeeperParts, ReputationKeeper, make_metrics
from services.deliver.edge.reputation.view import ReputationView, watch
from services.deliver.edge.shaping.lease_client import Stores
from services.deliver.edge.shaping.loading import load_rules
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.signing.signer import LOOK_S as KEYS_LOOK_S
from services.deliver.edge.signing.signer import KeyFollower
from services.deliver.edge.smtp.connection import Timeouts
from services.deliver.edge.smtp.logins import LOOK_S as LOGINS_LOOK_S
from services.deliver.edge.smtp.logins import Logins
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.smtp.server_memory import ServerMemory
from services.deliver.edge.sources.selecting import LOOK_S as SOURCES_LOOK_S
from services.deliver.edge.sources.selecting import Sources, check_sources
from services.deliver.edge.tls.counting import FLUSH_S, TlsCounter
from services.deliver.edge.tls.policies import make_contexts, make_policies
from services.deliver.edge.tracing.tracer import FLUSH_S as TRACE_FLUSH_S
from services.deliver.edge.tracing.tracer import Tracer
from services.deliver.settings import DeliverSettings, Settings
from shared.responses.replies.reply_rules import load_reply_rules
from shared.runtime.clock import Clock
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.runtime.service_cli import Running
from shared.settings.secret_files import REFRESH_S, KeysFile
from shared.store.client import NO_RETRY, connect_async
from shared.store.leases import LeaseStore
from shared.store.suspensions import SuspensionStore
from shared.store.traces import append_lines
from shared.stream.kit import StreamKit

log = logging.getLogger(__name__)


class Orders(Struct, frozen=True):
    """The orders of operators: their reader, and their view on the event loop."""

    follower: ControlFollower
    control: Control


class Reputation(Struct, frozen=True):
    """The view and the keeper of this process."""

    view: ReputationView
    keeper: ReputationKeeper

    def start(self, changed: Callable[[], object]) -> None:
        """Begin.

        `changed` is called in another thread when the steps of sources may have changed.
        """
        self.view.start(changed)
        self.keeper.start()

    def close(self) -> None:
        """Stop both threads."""
        self.keeper.close()
        self.view.close()


class Sending(Struct, frozen=True):
    """The parts that send mail. They are created before anything is read."""

    opener: Opener
    logins: Logins
    dkim_keys: KeyFollower | None
    rules: Rules
    keys: KeysFile | None
    orders: Orders
    sources: Sources
    tracer: Tracer
    reputation: Reputation


def _pool_limits(deliver: DeliverSettings) -> PoolLimits:
    return PoolLimits(
        max_connections=deliver.max_connections,
        max_messages_per_connection=deliver.max_messages_per_connection,
        idle_timeout_s=deliver.idle_timeout_s,
    )


def make_opener(
    deliver: DeliverSettings, ehlo_name: str, failpoints: Failpoints, logins: Logins
) -> Opener:
    """Return the opener of connections."""
    timeouts = Timeouts(
        connect_s=deliver.connect_timeout_s,
        greeting_s=deliver.greeting_timeout_s,
        command_s=deliver.command_timeout_s,
        data_s=deliver.data_timeout_s,
    )
    contexts = make_contexts(deliver)
    servers = ServerMemory(uses_chunking=deliver.chunking, logins=logins)
    return Opener(ehlo_name, timeouts, failpoints, contexts, servers=servers)


def load_shaping(deliver: DeliverSettings) -> Rules:
    """Load the shaping rules. The operator's file overrides shipped files. Raises UsageError."""
    try:
        return load_rules(deliver.shaping_file)
    except ShapingFaults as error:
        raise UsageError(f"deliver.shaping_file: {error}") from None


def load_sources(deliver: DeliverSettings) -> SourceTable:
    """Return the sources and pools that the settings define. Raises UsageError."""
    by_class = {key.value: name for key, name in deliver.pool_by_class.items()}
    try:
        return read_sources(deliver.sources, deliver.pools, by_class)
    except SourceFaults as error:
        raise UsageError(str(error)) from None


def check_at_start(deliver: DeliverSettings, sources: Sources, resolver: Resolver) -> None:
    """Log the faults of the sources. If the settings require it, raise UsageError for a fault."""
    if not sources.table.sources:
        return
    found = asyncio.run(check_sources(sources.table.sources, resolver))
    errors = [str(one) for one in found if one.severity is Severity.ERROR]
    if errors and deliver.require_sources:
        raise UsageError("deliver.require_sources: " + "; ".join(errors))
    for one in found:
        if one.severity is not Severity.OK:
            log.warning("%s", one)


def load_outcome_rules() -> OutcomeRules:
    """Return the outcome rules with the classes of replies.toml.

    Raises a ValueError whose text contains the bad row.
    """
    return OutcomeRules(load_reply_rules())


def make_shaper(settings: Settings, rules: Rules, running: Running) -> Shaper:
    """Return the shaper, which keeps the limits that all processes share."""
    deliver, redis = settings.deliver, settings.redis
    # Calls are not retried, because a repeated call would return the same lease twice. The stores
    # limit the time of each call. redis-py sets no limit, because it would create a task for each
    # command.
    client = connect_async(redis, retry=NO_RETRY, socket_timeout=None)
    stores = Stores(LeaseStore(client, redis.limits_key), SuspensionStore(client, redis.limits_key))
    workers = Workers(deliver.expected_workers, room=deliver.max_in_flight)
    throttle = Throttle(rules, workers)
    name = settings.runtime.instance
    return Shaper(throttle, stores, name, running.clock, running.counters)


def make_tracer(settings: Settings, follower: ControlFollower, clock: Clock) -> Tracer:
    """Return the tracer, which shows dialogs to operators."""
    # Calls are not retried, because a repeated call would write its lines twice.
    client = connect_async(settings.redis, retry=NO_RETRY)
    return Tracer(follower, partial(append_lines, client), clock, settings.runtime.instance)


def make_reputation(
    kit: StreamKit,
    running: Running,
    rules: Rules,
    sources: SourceTable,
    orders: OrderSource,
) -> Reputation:
    """Create this process's view and keeper, with their metrics and their note on /ready."""
    view, clock = ReputationView(kit.options), running.clock
    addresses = {ip: one.name for one in sources.sources for ip in one.addresses}
    parts = KeeperParts(
        kit.options,
        rules,
        addresses,
        view,
        lambda: orders.orders if orders.is_current() else None,
        ProviderLookup(rules, Resolver(clock.monotonic), clock),
        clock,
        make_metrics(running.counters),
        kit.failpoints,
    )
    keeper = ReputationKeeper(parts)
    watch(running.counters, view, rules, orders, clock)
    running.health.add_note("reputation", lambda: view.fault() or keeper.fault)
    return Reputation(view, keeper)


def make_pools(
    settings: Settings, sending: Sending, clock: Clock, shaper: Shaper, counter: TlsCounter
) -> Pools:
    """Return the connection pools, which send from `sending.sources`."""
    deliver = settings.deliver
    resolver = Resolver(clock.monotonic)
    client = connect_async(settings.redis)
    routing = Routing(
        Routes(deliver.routes),
        resolver,
        AddressPolicy(random.shuffle, deliver.allow_private_addresses),
        make_policies(deliver, resolver, client, clock, counter),
        sending.orders.control,
        sending.sources,
        sending.tracer,
    )
    room = Room(deliver.max_in_flight, deliver.max_in_flight_bytes)
    limits, rules = _pool_limits(deliver), load_outcome_rules()
    return Pools(limits, room, routing, sending.opener, rules, shaper=shaper)


def repeated(sending: Sending, counter: TlsCounter) -> Iterator[Coroutine[None, None, None]]:
    """Yield the tasks that run every few seconds while mail is sent."""
    yield repeat(FLUSH_S, counter.flush)
    yield repeat(TRACE_FLUSH_S, sending.tracer.flush)

    async def look() -> None:
        sending.sources.health.look()

    yield repeat(SOURCES_LOOK_S, look)
    if sending.keys is not None:
        yield repeat(REFRESH_S, partial(asyncio.to_thread, sending.keys.refresh))
    if sending.dkim_keys is not None:
        yield repeat(KEYS_LOOK_S, partial(asyncio.to_thread, sending.dkim_keys.refresh))
    yield repeat(LOGINS_LOOK_S, partial(asyncio.to_thread, sending.logins.refresh))


async def repeat(every_s: float, act: Callable[[], Awaitable[object]]) -> None:
    """Call `act` every `every_s` seconds until cancelled.

    A fault is logged, and the calls continue.
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            await act()
        except Exception:
            log.exception("a task that runs every %g s failed; it is tried again", every_s)
