"""Builds and runs the parts of the billing service: the cells, the counting loop, the writer of
checkpoints and statements, the quota keeper and the HTTP server."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from kafka.errors import FencedInstanceIdError

from services.billing.core.month import Months
from services.billing.edge import signing_key
from services.billing.edge.cells import open_cells
from services.billing.edge.http.serving import Api
from services.billing.edge.log_ends import EndsAsker, KafkaUnavailable
from services.billing.edge.metrics import BillingMetrics
from services.billing.edge.quota_keeper import KeeperParts, QuotaKeeper
from services.billing.edge.statements.bookkeeper import Bookkeeper
from services.billing.edge.statements.checkpointing import Checkpointer, restore_from
from services.billing.edge.statements.closing import Closer, ClosingParts, require_time_zone
from services.billing.edge.statements.topic import StatementTopic
from services.billing.edge.temporary_files import DiskUnavailable
from services.billing.edge.worker import Worker, WorkerParts
from services.billing.settings import Settings
from shared.runtime.checks import Probe
from shared.runtime.errors import UsageError
from shared.runtime.lifecycle import OK, Stop
from shared.runtime.service_cli import Running
from shared.runtime.tcp import in_url
from shared.store.eviction import policy_client, policy_fault
from shared.stream.client_events import ClientEvents
from shared.stream.kit import StreamKit
from shared.topics.names import EVENTS

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0


def serve(settings: Settings, running: Running) -> int:
    """Count events and answer requests until `running.stop` is set."""
    billing = settings.billing
    kit = StreamKit(settings.kafka, settings.runtime, running)
    ends = EndsAsker(kit.options)
    metrics = BillingMetrics(running.counters)
    topic = StatementTopic(kit.options)
    bookkeeper = _bookkeeper(settings, running, kit, topic, ends, metrics)
    worker = _worker(settings, running, kit, metrics)
    running.health.add_ready("kafka", lambda: worker.kafka)
    running.health.add_ready("redis", lambda: worker.store)
    running.health.add_ready("log", lambda: worker.log)
    policy = Probe("redis policy", partial(policy_fault, policy_client(settings.redis)))
    if billing.store == "redis":
        policy.start()
        running.health.add_ready("redis_policy", policy.fault)
    api = Api(settings, running, kit, ends)
    keeper = _quota_keeper(settings, running, kit, ends, api)
    log.info(
        "the HTTP API answers requests",
        extra={"at": f"http://{in_url(api.host)}:{api.port}/v1/usage"},
    )
    try:
        if kit.ensure_topics():
            api.start()
            _check_time_zone(topic, billing.time_zone, running.stop)
            bookkeeper.start()
            keeper.start()
            with kit.watching((EVENTS,), (), worker.status):
                worker.run(running.stop)
    except FencedInstanceIdError:
        name = settings.runtime.instance
        raise UsageError(f"runtime.instance: another billing process runs as {name!r}") from None
    finally:
        keeper.close()
        bookkeeper.close()
        topic.close()
        api.close()
        ends.close()
        policy.close()
    return OK


def _worker(
    settings: Settings, running: Running, kit: StreamKit, metrics: BillingMetrics
) -> Worker:
    """Build the worker that counts events."""
    billing = settings.billing
    cells = open_cells(billing, settings.redis)
    return Worker(
        WorkerParts(
            options=kit.options,
            group=billing.group,
            poll_records=billing.poll_records,
            cells=cells,
            months=Months(ZoneInfo(billing.time_zone)),
            clock=running.clock,
            failpoints=kit.failpoints,
            metrics=metrics,
            restore=partial(restore_from, kit.options, cells),
        )
    )


def _bookkeeper(
    settings: Settings,
    running: Running,
    kit: StreamKit,
    topic: StatementTopic,
    ends: EndsAsker,
    metrics: BillingMetrics,
) -> Bookkeeper:
    """Build the bookkeeper, which writes checkpoints and closes months. The bookkeeper has its own
    connection to the cells."""
    billing = settings.billing
    cells = open_cells(billing, settings.redis)
    closer = None
    if billing.close_automatically:
        closer = Closer(
            ClosingParts(
                cells=cells,
                topic=topic,
                ends=ends,
                months=Months(ZoneInfo(billing.time_zone)),
                time_zone=billing.time_zone,
                clock=running.clock,
                failpoints=kit.failpoints,
                key=signing_key.load(billing.signing_key_file),
                grace_h=billing.close_grace_h,
            )
        )
    checkpointer = Checkpointer(cells, topic, running.clock, kit.failpoints)
    return Bookkeeper(checkpointer, closer, running.clock, metrics, billing.checkpoint_s)


def _quota_keeper(
    settings: Settings, running: Running, kit: StreamKit, ends: EndsAsker, api: Api
) -> QuotaKeeper:
    """Build the quota keeper. The quota keeper has its own connection to the cells."""
    billing = settings.billing
    return QuotaKeeper(
        KeeperParts(
            options=kit.options,
            cells=open_cells(billing, settings.redis),
            ends=ends,
            months=Months(ZoneInfo(billing.time_zone)),
            clock=running.clock,
            view=api.quotas,
            clients=api.registered,
            own_events=ClientEvents(settings.kafka, kit.options),
            failpoints=kit.failpoints,
            every_s=billing.quota_s,
        )
    )


def _check_time_zone(topic: StatementTopic, time_zone: str, stop: Stop) -> None:
    """Raise UsageError if the time zone in the settings differs from the time zone of the
    statements."""
    while not stop.is_set():
        try:
            topic.read()
        except (KafkaUnavailable, DiskUnavailable) as error:
            log.warning("the statements cannot be read: %s", error)
            stop.wait(_RETRY_S)
        else:
            require_time_zone(topic.chain, time_zone)
            return
