"""The composition root of the deliver service.

The service reads messages from mail.outbound.* and mail.deferred.*, and sends them by SMTP.

The service has two main threads. The Kafka thread polls Kafka and commits transactions
(shared/stream/worker.py). The main thread runs the uvloop event loop with the connection pools.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from typing import Final

import uvloop

from services.deliver.core.attempt.retry import RetryTimes
from services.deliver.core.shaping.holds import SUSPENDED_LOOK_S
from services.deliver.edge.attempt.attempt_records import (
    EventCounter,
    due_at_ms,
    lane_of,
    unreadable,
)
from services.deliver.edge.attempt.attempts import (
    FAILED,
    Attempts,
    Gates,
)
from services.deliver.edge.control.control import Control
from services.deliver.edge.control.follower import ControlFollower
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.signing.preparing import ReturnPathSender, load_keys, make_preparing
from services.deliver.edge.smtp.logins import REFUSED, Logins
from services.deliver.edge.sources.selecting import UNAVAILABLE, Sources
from services.deliver.edge.tls.policies import make_counter
from services.deliver.sending import (
    Orders,
    Sending,
    check_at_start,
    load_shaping,
    load_sources,
    make_opener,
    make_pools,
    make_reputation,
    make_shaper,
    make_tracer,
    repeated,
)
from services.deliver.settings import Settings
from shared.runtime.checks import EventLoopBeat, Progress
from shared.runtime.lifecycle import OK
from shared.runtime.service_cli import Running
from shared.runtime.telemetry import Metric
from shared.settings.secret_files import load_return_keys
from shared.store.client import NO_RETRY, connect_async
from shared.stream.jobs import Handler, Limits
from shared.stream.kit import StreamKit
from shared.stream.worker import Worker
from shared.topics.names import DELIVER_PATTERN, EVENTS, HANDOVER, RETURNED, deferred, outbound
from shared.topics.records import Message
from shared.topics.retry_topics import RETRY_TOPICS_S

log = logging.getLogger(__name__)

# The lane that always exists. The validate service creates the other lanes, because it chooses the
# lane of each message.
LANES: Final = ("default",)
CONNECTIONS: Final = Metric("sluice_deliver_connections", "Open SMTP connections.")
SLOW_SITES: Final = Metric(
    "sluice_deliver_slow_sites",
    "Sites for which a new message would wait for 10 s or longer. Together, these sites may "
    "have half of the messages in flight; further messages are deferred without an attempt.",
)
TO_THE_INTERNET: Final = (
    "deliver.routes has no route for `*`: messages go to the mail servers of their recipients on"
    " the internet; set deliver.reach_internet = true to confirm this"
)
NO_RETURN_PATH: Final = (
    "return_path.keys_file is not set: messages go out with their From address as envelope "
    "sender, so bounces do not show which message they refer to"
)
_LOCAL_DOMAINS: Final = ("localhost", "localdomain", "local", "internal")
# The drain ends this number of seconds before the process must end. The remaining time is for
# closing the connections.
CLOSING_S: Final = 3.0


def serve(settings: Settings, running: Running) -> int:
    """Run until the process is asked to stop."""
    kit = StreamKit(settings.kafka, settings.runtime, running)
    if "*" not in settings.deliver.routes and not settings.deliver.reach_internet:
        log.warning(TO_THE_INTERNET)
    name = settings.deliver.ehlo_name or socket.getfqdn()
    if warning := ehlo_warning(name):
        log.warning(warning)
    sources = Sources(load_sources(settings.deliver))
    sources.health.look()
    check_at_start(settings.deliver, sources, Resolver(running.clock.monotonic))
    rules = load_shaping(settings.deliver)
    dkim_keys = load_keys(settings.deliver)
    logins = Logins(settings.deliver.logins_file)
    keys = load_return_keys(settings.return_path)
    if keys is None:
        log.warning(NO_RETURN_PATH)
    if not kit.ensure_topics(LANES):
        return OK
    written = (*map(deferred, RETRY_TOPICS_S), HANDOVER, EVENTS, RETURNED)
    worker = kit.worker(DELIVER_PATTERN, _limits(settings), written)
    with (
        kit.watching(map(outbound, LANES), written, worker.status),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        opener = make_opener(settings.deliver, name, kit.failpoints, logins)
        follower = ControlFollower(kit.options, running.clock)
        orders = Orders(follower, Control(follower, running.clock))
        tracer = make_tracer(settings, follower, running.clock)
        reputation = make_reputation(kit, running, rules, sources.table, follower)
        sending = Sending(
            opener, logins, dkim_keys, rules, keys, orders, sources, tracer, reputation
        )
        runner.run(_deliver(settings, running, worker, sending))
    return OK


def ehlo_warning(name: str) -> str:
    """Return a warning if the EHLO name is not a full host name, otherwise ""."""
    labels = name.lower().rstrip(".").split(".")
    if len(labels) > 1 and labels[-1] not in _LOCAL_DOMAINS:
        return ""
    return (
        f"the name sent in EHLO is {name!r}, not a full host name (RFC 5321, 4.1.1.1): many"
        " servers refuse it or take the mail for spam; set deliver.ehlo_name to this host's name in"
        " the DNS, whose address has the same name in its PTR record"
    )


def _limits(settings: Settings) -> Limits:
    deliver = settings.deliver
    return Limits(
        max_in_flight=deliver.max_in_flight,
        max_in_flight_bytes=deliver.max_in_flight_bytes,
        commit_interval_s=deliver.commit_interval_s,
        handover_topic=HANDOVER,
        drain_timeout_s=max(1.0, settings.runtime.drain_timeout_s - CLOSING_S),
    )


async def _deliver(settings: Settings, running: Running, worker: Worker, sending: Sending) -> None:
    shaper = make_shaper(settings, sending.rules, running)
    counter = make_counter(connect_async(settings.redis, retry=NO_RETRY), running.clock)
    pools = make_pools(settings, sending, running.clock, shaper, counter)
    preparing = make_preparing(settings.deliver, pools, sending.dkim_keys, running.clock)
    shaper.start()
    pools.start()
    attempts = Attempts(
        worker,
        ReturnPathSender(preparing, sending.keys),
        running.clock,
        RetryTimes(settings.deliver.retry_time_scale, settings.deliver.in_doubt_delay_s),
        running.counters.counter(FAILED),
        gates=Gates(
            shaper.lanes,
            sending.orders.control,
            EventCounter(running.counters),
            sending.rules.version,
        ),
    )
    _watch(running, pools, shaper, sending)
    follower, loop = sending.orders.follower, asyncio.get_running_loop()
    follower.start(lambda: loop.call_soon_threadsafe(attempts.look_again))
    ended: asyncio.Future[None] = loop.create_future()
    view = sending.reputation.view
    sending.reputation.start(
        lambda: loop.call_soon_threadsafe(lambda: shaper.warm_up(view.sources()))
    )
    handler = _handler(attempts, shaper, sending.orders)
    thread = threading.Thread(
        target=_run_worker, args=(worker, running, handler, ended), name="kafka"
    )
    thread.start()
    tasks = [asyncio.create_task(each) for each in repeated(sending, counter)]
    try:
        await _until_ended(running, ended, attempts.crashed)
    finally:
        for task in tasks:
            task.cancel()
        await pools.close()
        await shaper.close()
        thread.join()
        sending.reputation.close()
        follower.close()


def _watch(running: Running, pools: Pools, shaper: Shaper, sending: Sending) -> None:
    """Register the checks of /ready and /live, and the metrics."""
    beat = EventLoopBeat(asyncio.get_running_loop())
    live = Progress("the event loop", beat.count, lambda: running.stop.reason)
    running.health.add_live("event_loop", live)
    running.health.add_note("limits", shaper.status)
    running.health.add_ready("orders", sending.orders.follower.why_waiting)
    running.health.add_note("old_orders", sending.orders.follower.status)
    running.health.add_note("sources", sending.sources.health.status)
    running.counters.watch(UNAVAILABLE, lambda: float(sending.sources.health.unavailable))
    running.health.add_note("logins", sending.logins.status)
    running.counters.watch(REFUSED, lambda: float(sending.logins.refused))
    running.counters.watch(CONNECTIONS, lambda: float(pools.connections))
    running.counters.watch(SLOW_SITES, lambda: float(pools.slow_sites))
    sending.orders.follower.watch(running.counters)


def _handler(attempts: Attempts, shaper: Shaper, orders: Orders) -> Handler:
    """Return the functions that the Kafka thread calls to pass on jobs and to get waiting times."""

    def hold_s(topic: str, more: int) -> float:
        lane = lane_of(topic)
        if lane and orders.control.suspends_lane(lane):
            return SUSPENDED_LOOK_S
        return shaper.lanes.hold_s(lane, more) if lane else 0.0

    def wait_s(topic: str, messages: Sequence[Message], more: int, due_in_s: float) -> float:
        return shaper.retry_holds.wait_s(topic, messages[0].envelope, more, due_in_s)

    return Handler(
        attempts.hand_out,
        unreadable,
        due_at_ms,
        hold_s,
        orders.follower.is_current,
        wait_s=wait_s,
    )


async def _until_ended(
    running: Running, ended: asyncio.Future[None], crashed: asyncio.Future[None]
) -> None:
    """Wait until the Kafka thread has drained and ended, or until either thread has crashed."""
    await asyncio.wait((ended, crashed), return_when=asyncio.FIRST_COMPLETED)
    if crashed.done():
        running.stop.set("an attempt crashed")
    await ended
    if crashed.done():
        crashed.result()


def _run_worker(
    worker: Worker, running: Running, handler: Handler, ended: asyncio.Future[None]
) -> None:
    loop = ended.get_loop()
    try:
        worker.run(running.stop, handler)
    except BaseException as error:
        loop.call_soon_threadsafe(ended.set_exception, error)
    else:
        loop.call_soon_threadsafe(ended.set_result, None)
