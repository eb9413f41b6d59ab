"""What mail is sent with: connections, keys, limits and orders, made for the composition root."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial

from msgspec import Struct

from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.pool.slow_sites import Room
from services.deliver.core.routing.sites import Routes
from services.deliver.core.shaping.parsing import ShapingFaults
from services.deliver.core.shaping.rules import Rules
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import Workers
from services.deliver.core.sources.checking import Severity
from services.deliver.core.sources.table import SourceFaults, SourceTable, read_sources
from services.deliver.edge.control.control import Control
from services.deliver.edge.control.follower import ControlFollower
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.dns.site_addresses import AddressPolicy
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.reputation.composing import Reputation
from services.deliver.edge.shaping.lease_client import Stores
from services.deliver.edge.shaping.loading import load_rules
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.signing.key_follower import KeyFollower
from services.deliver.edge.smtp.connection import Timeouts
from services.deliver.edge.smtp.fault_memory import ServerMemory
from services.deliver.edge.smtp.logins import Logins
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.sources.checks import check_sources
from services.deliver.edge.sources.selecting import Sources
from services.deliver.edge.tls.composing import make_contexts, make_policies
from services.deliver.edge.tls.counting import TlsCounter
from services.deliver.edge.tracing.tracer import Tracer
from services.deliver.rules.loading import load_outcome_rules
from services.deliver.settings import DeliverSettings, Settings
from shared.runtime.clock import Clock
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.runtime.service_cli import Running
from shared.settings.return_keys import KeysFile
from shared.store.client import NO_RETRY, connect_async
from shared.store.leases import LeaseStore
from shared.store.suspensions import SuspensionStore
from shared.store.traces import append_lines

log = logging.getLogger(__name__)


class Orders(Struct, frozen=True):
    """The orders of operators: their reader, and their view on the event loop."""

    follower: ControlFollower
    control: Control


class Sending(Struct, frozen=True):
    """What mail is sent with, made before anything is read."""

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
    """How connections are opened."""
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
    """The shaping rules, with the operator's file over the shipped ones; raises UsageError."""
    try:
        return load_rules(deliver.shaping_file)
    except ShapingFaults as error:
        raise UsageError(f"deliver.shaping_file: {error}") from None


def load_sources(deliver: DeliverSettings) -> SourceTable:
    """The sources and pools of the settings; raises UsageError."""
    by_class = {key.value: name for key, name in deliver.pool_by_class.items()}
    try:
        return read_sources(deliver.sources, deliver.pools, by_class)
    except SourceFaults as error:
        raise UsageError(str(error)) from None


def check_at_start(deliver: DeliverSettings, sources: Sources, resolver: Resolver) -> None:
    """Log the faults of the sources; raise UsageError for them if the settings require it."""
    if not sources.table.sources:
        return
    found = asyncio.run(check_sources(sources.table.sources, resolver))
    errors = [str(one) for one in found if one.severity is Severity.ERROR]
    if errors and deliver.require_sources:
        raise UsageError("deliver.require_sources: " + "; ".join(errors))
    for one in found:
        if one.severity is not Severity.OK:
            log.warning("%s", one)


def make_shaper(settings: Settings, rules: Rules, running: Running) -> Shaper:
    """Return the shaper, which keeps the limits that all processes share."""
    deliver, redis = settings.deliver, settings.redis
    # A call that is sent again would give back the same lease twice. Each has a time limit of its
    # own, within that of redis-py, which takes a task for each command.
    client = connect_async(redis, retry=NO_RETRY, socket_timeout=None)
    stores = Stores(LeaseStore(client, redis.limits_key), SuspensionStore(client, redis.limits_key))
    workers = Workers(deliver.expected_workers, room=deliver.max_in_flight)
    throttle = Throttle(rules, workers)
    name = settings.runtime.instance
    return Shaper(throttle, stores, name, running.clock, running.counters)


def make_tracer(settings: Settings, follower: ControlFollower, clock: Clock) -> Tracer:
    """Return the tracer, which shows dialogs to operators."""
    # A call that is sent again would write its lines twice.
    client = connect_async(settings.redis, retry=NO_RETRY)
    return Tracer(follower, partial(append_lines, client), clock, settings.runtime.instance)


def make_pools(
    settings: Settings, sending: Sending, clock: Clock, shaper: Shaper, counter: TlsCounter
) -> Pools:
    """The connection pools; they send from `sending.sources`."""
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
