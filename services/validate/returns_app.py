"""The composition root of reading returned mail: mail.returned in, events and forwarded mail out.

It runs in a thread beside the counting of bounces (responses_app.py), in every process that may
count. The processes share the partitions, and one client's mail is on one partition.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from msgspec.structs import replace

from services.validate.core.lanes import Lanes
from services.validate.core.returns.identity import Verification
from services.validate.core.returns.windows import Policy
from services.validate.edge.returns.metrics import register_metrics
from services.validate.edge.returns.processor import SERVICE, ReturnsProcessor, Tools
from services.validate.edge.returns.window_log import WindowLog
from services.validate.edge.returns.worker import ReturnsWorker, WorkerParts
from services.validate.settings import Settings
from shared.registry.lookup import WithRemoved
from shared.registry.store.view import ClientView
from shared.responses.rules.loading import load_rules
from shared.runtime.service_cli import Running
from shared.runtime.threads import in_side_thread
from shared.settings.secret_files import load_return_keys
from shared.stream.kit import StreamKit
from shared.topics import names


def returned_mail_in_thread(
    settings: Settings, running: Running, view: ClientView
) -> AbstractContextManager[None]:
    """Read returned mail in a thread while the block runs. Raises UsageError."""
    worker = _worker(settings, running, view)
    return in_side_thread("returns", "reading returned mail", worker.run, running.stop)


def _worker(settings: Settings, running: Running, view: ClientView) -> ReturnsWorker:
    named = replace(running, service=SERVICE)
    kit = StreamKit(settings.kafka, settings.runtime, named)
    producer = kit.producer(SERVICE)
    validate = settings.validate
    tools = Tools(
        rules=load_rules(),
        lanes=Lanes(validate.lanes),
        policy=Policy(validate.forwards_per_window, validate.forward_window_s * 1000),
        verification=_verification(settings),
        partitions_of=producer.partitions_for,
    )
    metrics = register_metrics(running.counters)
    worker = ReturnsWorker(
        WorkerParts(
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
    """Return what quoted return paths are verified with, with the keys of the moment."""
    keys_file = load_return_keys(settings.return_path)
    if keys_file is None:
        return lambda: None
    days_valid = settings.return_path.days_valid

    def verification() -> Verification:
        keys_file.refresh()
        return Verification(keys_file.keys, days_valid)

    return verification
