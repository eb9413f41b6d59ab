"""The composition root of deliver: mail.outbound.* and mail.deferred.* in, SMTP out.

Two threads: the Kafka thread polls and commits (shared/stream/worker.py), the main thread
runs the uvloop loop with the connection pools.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Final

import uvloop
from msgspec import Struct

from services.deliver.core.attempt.retry import RetryTimes
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.routing.sites import RouteError, Routes
from services.deliver.edge.attempt.attempts import (
    FAILED,
    Attempts,
    Sender,
    due_at_ms,
    unreadable,
)
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools
from services.deliver.edge.signing.signer import KeyFault, Signer, SigningSender, load_key
from services.deliver.edge.smtp.connection import Timeouts
from services.deliver.edge.smtp.opening import Opener
from services.deliver.rules.loading import load_outcome_rules
from services.deliver.settings import DeliverSettings, Settings
from shared.runtime.clock import Clock
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import OK
from shared.runtime.service_cli import Running
from shared.runtime.telemetry import Metric
from shared.stream.jobs import Handler, Limits
from shared.stream.kit import StreamKit
from shared.stream.worker import Worker
from shared.topics.names import DELAYS_S, DELIVER_PATTERN, EVENTS, HANDOVER, deferred, outbound

log = logging.getLogger(__name__)

# The lane that is always there; validate makes the others, since it chooses them.
LANES: Final = ("default",)
CONNECTIONS: Final = Metric("sluice_deliver_connections", "Open SMTP connections.")
TO_THE_INTERNET: Final = (
    "deliver.routes has no route for `*`: messages go to the mail servers of their recipients on"
    " the internet; set deliver.reach_internet = true to confirm this"
)
# Of the time a stopping process has, what is kept for closing up after the drain.
CLOSING_S: Final = 3.0


class _Outward(Struct, frozen=True):
    """What sending needs besides the settings; `signer` None: mail is not signed."""

    routes: Routes
    signer: Signer | None
    failpoints: Failpoints


def serve(settings: Settings, running: Running) -> int:
    """Work until asked to stop."""
    kit = StreamKit(settings.kafka, settings.runtime, running)
    try:
        routes = Routes(settings.deliver.routes)
    except RouteError as error:
        raise UsageError(f"deliver.routes: {error}") from None
    if "*" not in settings.deliver.routes and not settings.deliver.reach_internet:
        log.warning(TO_THE_INTERNET)
    signer = make_signer(settings.deliver, running.clock)
    if not kit.ensure_topics(LANES):
        return OK
    worker = kit.worker(DELIVER_PATTERN, _limits(settings))
    written = (*map(deferred, DELAYS_S), HANDOVER, EVENTS)
    with (
        kit.watching(map(outbound, LANES), written),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        outward = _Outward(routes, signer, kit.failpoints)
        runner.run(_deliver(settings.deliver, running, worker, outward))
    return OK


def make_signer(deliver: DeliverSettings, clock: Clock) -> Signer | None:
    """The signer of the settings, None where no key is named; raises UsageError."""
    if not deliver.dkim_key_file:
        return None
    try:
        key = load_key(deliver.dkim_key_file)
    except KeyFault as error:
        raise UsageError(f"deliver.dkim_key_file: {error}") from None
    return Signer(key, deliver.dkim_selector, clock)


def _limits(settings: Settings) -> Limits:
    deliver = settings.deliver
    return Limits(
        max_in_flight=deliver.max_in_flight,
        max_in_flight_bytes=deliver.max_in_flight_bytes,
        commit_interval_s=deliver.commit_interval_s,
        handover_topic=HANDOVER,
        drain_timeout_s=max(1.0, settings.runtime.drain_timeout_s - CLOSING_S),
    )


def _pool_limits(deliver: DeliverSettings) -> PoolLimits:
    return PoolLimits(
        max_connections=deliver.max_connections,
        max_messages_per_connection=deliver.max_messages_per_connection,
        idle_timeout_s=deliver.idle_timeout_s,
    )


def _opener(deliver: DeliverSettings, failpoints: Failpoints) -> Opener:
    timeouts = Timeouts(
        connect_s=deliver.connect_timeout_s,
        greeting_s=deliver.greeting_timeout_s,
        command_s=deliver.command_timeout_s,
        data_s=deliver.data_timeout_s,
    )
    return Opener(deliver.ehlo_name or socket.getfqdn(), timeouts, failpoints)


async def _deliver(
    deliver: DeliverSettings, running: Running, worker: Worker, outward: _Outward
) -> None:
    pools = Pools(
        _pool_limits(deliver),
        outward.routes,
        Resolver(running.clock.monotonic),
        _opener(deliver, outward.failpoints),
        load_outcome_rules(),
    )
    sender: Sender = SigningSender(pools, outward.signer) if outward.signer else pools
    pools.start()
    running.counters.watch(CONNECTIONS, lambda: float(pools.connections))
    attempts = Attempts(
        worker,
        sender,
        running.clock,
        RetryTimes(deliver.retry_time_scale, deliver.in_doubt_delay_s),
        running.counters.counter(FAILED),
    )
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    thread = threading.Thread(
        target=_run_worker, args=(worker, running, attempts, ended), name="kafka"
    )
    thread.start()
    try:
        # Either the Kafka thread has drained and ended, or one of the two has crashed.
        await asyncio.wait((ended, attempts.crashed), return_when=asyncio.FIRST_COMPLETED)
        if attempts.crashed.done():
            running.stop.set("an attempt crashed")
        await ended
        if attempts.crashed.done():
            attempts.crashed.result()
    finally:
        await pools.close()
        thread.join()


def _run_worker(
    worker: Worker, running: Running, attempts: Attempts, ended: asyncio.Future[None]
) -> None:
    loop = ended.get_loop()
    try:
        worker.run(running.stop, Handler(attempts.hand_out, unreadable, due_at_ms))
    except BaseException as error:
        loop.call_soon_threadsafe(ended.set_exception, error)
    else:
        loop.call_soon_threadsafe(ended.set_result, None)
