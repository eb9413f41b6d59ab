"""Puts billing together: the cells, the counting loop, the HTTP server."""

from __future__ import annotations

import logging
from functools import partial
from zoneinfo import ZoneInfo

from kafka.errors import FencedInstanceIdError

from services.billing.core.month import Months
from services.billing.edge.api import ApiServer, make_app
from services.billing.edge.cells import RedisCells
from services.billing.edge.log_ends import EndsAsker
from services.billing.edge.metrics import BillingMetrics
from services.billing.edge.usage_view import UsageView
from services.billing.edge.worker import Worker, WorkerParts
from services.billing.settings import Settings
from shared.runtime.errors import UsageError
from shared.runtime.lifecycle import OK
from shared.runtime.probe import Probe
from shared.runtime.service_cli import Running
from shared.store.client import connect
from shared.store.eviction import policy_client, policy_fault
from shared.stream.kit import StreamKit
from shared.topics.names import EVENTS

log = logging.getLogger(__name__)


def serve(settings: Settings, running: Running) -> int:
    """Count and answer until asked to stop."""
    billing = settings.billing
    kit = StreamKit(settings.kafka, settings.runtime, running)
    cells = RedisCells(connect(settings.redis.url), billing.cells_key)
    ends = EndsAsker(kit.options)
    worker = Worker(
        WorkerParts(
            options=kit.options,
            group=billing.group,
            poll_records=billing.poll_records,
            cells=cells,
            months=Months(ZoneInfo(billing.time_zone)),
            clock=running.clock,
            failpoints=kit.failpoints,
            metrics=BillingMetrics(running.counters),
        )
    )
    running.health.add_ready("kafka", lambda: worker.kafka)
    running.health.add_ready("redis", lambda: worker.store)
    running.health.add_ready("log", lambda: worker.log)
    policy = Probe("redis policy", partial(policy_fault, policy_client(settings.redis.url)))
    policy.start()
    running.health.add_ready("redis_policy", policy.fault)
    door = ApiServer(make_app(UsageView(cells, ends)), billing.http_host, billing.http_port)
    log.info("usage is answered", extra={"at": f"http://{door.host}:{door.port}/v1/usage"})
    try:
        if kit.ensure_topics():
            with kit.watching((EVENTS,), ()):
                worker.run(running.stop)
    except FencedInstanceIdError:
        name = settings.runtime.instance
        raise UsageError(f"runtime.instance: another billing process runs as {name!r}") from None
    finally:
        door.close()
        ends.close()
        policy.close()
    return OK
