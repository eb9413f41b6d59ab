"""The composition root of the responses worker: bounces are counted, recipients suppressed.

It runs in a thread of `validate serve`, or alone as `validate responses`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from kafka.errors import FencedInstanceIdError
from msgspec.structs import replace

from services.validate.edge.responses.metrics import register_metrics
from services.validate.edge.responses.opening import WorkerParts
from services.validate.edge.responses.worker import ELECTION_TOPIC, SERVICE, ResponsesWorker
from services.validate.returns_app import returned_mail_in_thread
from services.validate.settings import Settings
from shared.registry.lookup import WithRemoved
from shared.registry.store.view import ClientView
from shared.responses.counting.incidents import IncidentPolicy
from shared.runtime.errors import UsageError
from shared.runtime.lifecycle import OK
from shared.runtime.service_cli import Running
from shared.runtime.threads import in_side_thread
from shared.store.client import connect
from shared.store.counters import CounterStore
from shared.stream.kit import StreamKit
from shared.topics import names


def serve_responses(settings: Settings, running: Running) -> int:
    """Count until asked to stop."""
    kit = StreamKit(settings.kafka, settings.runtime, running)
    if not kit.ensure_topics():
        return OK
    view = ClientView(settings.kafka)
    view.start()
    try:
        worker = _worker(settings, running, view)
        reads = (names.EVENTS, names.SUPPRESSIONS, names.RETURNED)
        with (
            kit.watching(reads, (names.SUPPRESSIONS, names.EVENTS)),
            returned_mail_in_thread(settings, running, view),
        ):
            worker.run(running.stop)
    except FencedInstanceIdError:
        name = settings.runtime.instance
        raise UsageError(f"runtime.instance: another process runs as {name!r}") from None
    finally:
        view.close()
    return OK


def counting_in_thread(
    settings: Settings, running: Running, view: ClientView
) -> AbstractContextManager[None]:
    """Count in a thread while the block runs."""
    worker = _worker(settings, running, view)
    return in_side_thread("responses", "counting bounces", worker.run, running.stop)


def _worker(settings: Settings, running: Running, view: ClientView) -> ResponsesWorker:
    named = replace(running, service=SERVICE)
    kit = StreamKit(settings.kafka, settings.runtime, named)
    client = connect(settings.redis, decode_responses=False)
    validate = settings.validate
    worker = ResponsesWorker(
        WorkerParts(
            options=kit.options,
            make_consumer=kit.consumer(topics=(ELECTION_TOPIC,)),
            producer=kit.producer(SERVICE),
            clients=WithRemoved(view),
            store=CounterStore(client, settings.redis.counters_key),
            clock=running.clock,
            failpoints=kit.failpoints,
            metrics=register_metrics(running.counters),
            policy=IncidentPolicy(
                validate.incident_bounces,
                validate.incident_percent,
                validate.incident_window_s * 1000,
            ),
        )
    )
    running.health.add_ready("responses", worker.why_waiting)
    return worker
