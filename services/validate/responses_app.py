"""The composition root of the tasks that count bounces, and read and forward returned mail.

Both tasks run in threads of `validate serve`. The command `validate responses` runs both tasks
without the rest of the service. Only one process counts bounces. All processes read returned mail,
because they share the partitions of mail.returned. The mail of one client is on one partition.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from kafka.errors import FencedInstanceIdError
from msgspec.structs import replace

from services.validate.core.lanes import Lanes
from services.validate.core.returns.identity import Verification
from services.validate.core.returns.windows import Policy
from services.validate.edge.responses.opening import WorkerParts, register_metrics
from services.validate.edge.responses.worker import ELECTION_TOPIC, SERVICE, ResponsesWorker
from services.validate.edge.returns.metrics import register_metrics as register_returns_metrics
from services.validate.edge.returns.processor import SERVICE as RETURNS
from services.validate.edge.returns.processor import ReturnsProcessor, Tools
from services.validate.edge.returns.worker import ReturnsWorker, WindowLog
from services.validate.edge.returns.worker import WorkerParts as ReturnsParts
from services.validate.settings import Settings
from shared.registry.lookup import WithRemoved
from shared.registry.store.view import ClientView
from shared.responses.counting.incidents import IncidentPolicy
from shared.responses.rules.loading import load_rules
from shared.runtime.errors import UsageError
from shared.runtime.lifecycle import OK
from shared.runtime.service_cli import Running
from shared.runtime.threads import in_side_thread
from shared.settings.secret_files import load_return_keys
from shared.store.client import connect
from shared.store.counters import CounterStore
from shared.stream.kit import StreamKit
from shared.topics import names


def serve_responses(settings: Settings, running: Running) -> int:
    """Count bounces and read returned mail until the process is asked to stop."""
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
    """Count bounces in a thread while the block runs."""
    worker = _worker(settings, running, view)
    return in_side_thread("responses", "counting bounces", worker.run, running.stop)


def returned_mail_in_thread(
    settings: Settings, running: Running, view: ClientView
) -> AbstractContextManager[None]:
    """Read returned mail in a thread while the block runs. Raises UsageError."""
    worker = _returns_worker(settings, running, view)
    return in_side_thread("returns", "reading returned mail", worker.run, running.stop)


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


def _returns_worker(settings: Settings, running: Running, view: ClientView) -> ReturnsWorker:
    named = replace(running, service=RETURNS)
    kit = StreamKit(settings.kafka, settings.runtime, named)
    producer = kit.producer(RETURNS)
    validate = settings.validate
    tools = Tools(
        rules=load_rules(),
        lanes=Lanes(validate.lanes),
        policy=Policy(validate.forwards_per_window, validate.forward_window_s * 1000),
        verification=_verification(settings),
        partitions_of=producer.partitions_for,
    )
    metrics = register_returns_metrics(running.counters)
    worker = ReturnsWorker(
        ReturnsParts(
            make_consumer=kit.consumer(topics=(names.RETURNED,)),
            producer=producer,
            processor=ReturnsProcessor(WithRemoved(view), tools, running.clock, metrics),
            windows=WindowLog(kit.options, running.clock),
            failpoints=kit.failpoints,
        )
    )
    running.health.add_ready("returns", lambda: worker.status.waiting_for)
    return worker


def _verification(settings: Settings) -> Callable[[], Verification | None]:
    """Return a function that returns the present keys and the largest age for verifying return
    paths."""
    keys_file = load_return_keys(settings.return_path)
    if keys_file is None:
        return lambda: None
    days_valid = settings.return_path.days_valid

    def verification() -> Verification:
        keys_file.refresh()
        return Verification(keys_file.keys, days_valid)

    return verification
