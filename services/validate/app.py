"""The composition root of the validate service, which reads mail.received and writes
mail.outbound.<lane>.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.validate.core.lanes import Lanes
from services.validate.core.quotas import QuotaUse
from services.validate.core.verdict import Policy
from services.validate.edge.batch_processor import BatchProcessor, Views, register_metrics
from services.validate.edge.key_restorer import KeyRestorer
from services.validate.edge.submission_keys import SubmissionKeys
from services.validate.edge.suppression_view import UNREADABLE, SuppressionFollower, SuppressionView
from services.validate.held_app import HeldParts, held_mail_in_thread
from services.validate.responses_app import counting_in_thread, returned_mail_in_thread
from services.validate.settings import Settings
from shared.quotas.view import QuotaView
from shared.registry.lookup import WithRemoved
from shared.registry.store.view import ClientView
from shared.runtime.lifecycle import OK
from shared.runtime.service_cli import Running
from shared.store import client as store
from shared.store.submissions import Window
from shared.store.suppressions import SuppressionStore
from shared.stream.kit import StreamKit
from shared.topics import names


def serve(settings: Settings, running: Running) -> int:
    """Process messages until the process is asked to stop."""
    lanes = Lanes(settings.validate.lanes)
    kit = StreamKit(settings.kafka, settings.runtime, running)
    if not kit.ensure_topics(lanes.names):
        return OK
    view = ClientView(settings.kafka)
    view.start()
    restorer = _key_restorer(settings, running, kit)
    follower = _follower(settings, running, kit)
    quotas = _quotas(running, kit)
    use = QuotaUse(quotas)
    try:
        written = (*map(names.outbound, lanes.names), names.EVENTS, names.SUBMISSIONS, names.HELD)
        producer = kit.producer(writes=written)
        views = Views(
            WithRemoved(view),
            SuppressionView(follower, running.clock),
            SubmissionKeys(restorer) if restorer else None,
            use,
        )
        policy = Policy(settings.validate.max_message_bytes, lanes)
        metrics = register_metrics(running.counters)
        processor = BatchProcessor(
            views, policy, producer.partitions_for, clock=running.clock, metrics=metrics
        )
        relay = kit.relay(
            kit.consumer(topics=(names.RECEIVED,)),
            producer,
            processor.process,
            max_records=settings.validate.max_records,
        )
        with (
            kit.watching((names.RECEIVED,), written, relay.status),
            _responses(settings, running, view),
            held_mail_in_thread(
                settings, running, HeldParts(view, views, quotas, use, policy, metrics)
            ),
        ):
            relay.run(running.stop)
    finally:
        for part in (restorer, follower, quotas, view):
            if part is not None:
                part.close()
    return OK


def _quotas(running: Running, kit: StreamKit) -> QuotaView:
    """Start the thread that reads the topic of the quotas."""
    quotas = QuotaView(kit.options)
    quotas.start()
    running.health.add_ready("quotas", quotas.fault)
    return quotas


def _key_restorer(settings: Settings, running: Running, kit: StreamKit) -> KeyRestorer | None:
    """Start the thread that keeps the submission keys complete; return None if the settings switch
    off the detection of duplicates."""
    validate, redis = settings.validate, settings.redis
    if not validate.duplicate_window_h:
        return None
    window = Window(validate.duplicate_window_h * 3600, validate.submissions_per_day)
    client = store.connect(redis, decode_responses=False)
    restorer = KeyRestorer(kit.options, client, redis.submissions_key, window, running.clock)
    restorer.start()
    running.health.add_ready("submission_keys", restorer.fault)
    return restorer


@contextmanager
def _responses(settings: Settings, running: Running, view: ClientView) -> Iterator[None]:
    """If the settings enable these tasks, count bounces and read returned mail in two threads."""
    if not settings.validate.counts_bounces:
        yield
        return
    with (
        counting_in_thread(settings, running, view),
        returned_mail_in_thread(settings, running, view),
    ):
        yield


def _follower(settings: Settings, running: Running, kit: StreamKit) -> SuppressionFollower:
    """Start the thread that keeps the view of suppressed recipients up to date."""
    client = store.connect(settings.redis, decode_responses=False)
    kept = SuppressionStore(client, settings.redis.suppressions_key)
    follower = SuppressionFollower(kit.options, kept, running.clock)
    running.counters.watch(UNREADABLE, lambda: follower.unreadable)
    follower.start()
    running.health.add_ready("suppressions", follower.fault)
    return follower
