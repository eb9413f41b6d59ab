"""The composition root of validate: mail.received in, mail.outbound.<lane> out."""

from __future__ import annotations

import os
from typing import Final

from services.validate.core.lanes import Lanes
from services.validate.core.verdict import Policy
from services.validate.edge.batch_processor import SERVICE, BatchProcessor, Dependencies
from services.validate.edge.key_restorer import KeyRestorer
from services.validate.edge.submission_keys import SubmissionKeys
from services.validate.settings import Settings
from shared.registry.store.view import ClientView
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import OK
from shared.runtime.service_cli import Running
from shared.store import client as store
from shared.store.submissions import Window
from shared.stream.admin import ensure_topics_until
from shared.stream.client import ClientOptions, options_of
from shared.stream.client_events import ClientEvents
from shared.stream.consumer import StreamConsumer
from shared.stream.open_transactions import OpenTransactions
from shared.stream.reachability import probe_brokers
from shared.stream.relay import Relay
from shared.stream.status_metrics import register_relay_metrics
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import watchdog_of
from shared.topics import names

GROUP: Final = "sluice.validate"
DUPLICATES: Final = "sluice_validate_duplicates"
DUPLICATES_HELP: Final = "Submissions that came before and are not sent again, by client."
UNKNOWN_LANES: Final = "sluice_validate_unknown_lanes"
UNKNOWN_LANES_HELP: Final = (
    "Messages sent by the lane default because their client names one that is not configured."
)


def serve(settings: Settings, running: Running) -> int:
    """Work until asked to stop."""
    kafka = settings.kafka
    lanes = Lanes(settings.validate.lanes)
    failpoints = Failpoints.parse(os.environ.get("SLUICE_FAILPOINT", ""))
    topics = names.plans(lanes.names, kafka.partitions)
    if not ensure_topics_until(running.stop, kafka, topics):
        return OK
    options = options_of(kafka, settings.runtime)
    view = ClientView(kafka)
    view.start()
    reader = _keys_reader(settings, running, options)
    try:
        producer = TransactionalProducer(
            options, SERVICE, failpoints, watchdog_of(options), ClientEvents(kafka)
        )
        policy = Policy(settings.validate.max_message_bytes, lanes)
        judging = BatchProcessor(
            Dependencies(
                clients=view,
                policy=policy,
                keys=SubmissionKeys(reader) if reader else None,
                partitions_of=producer.partitions_for,
                clock=running.clock,
                duplicates=running.counters.counter(DUPLICATES, DUPLICATES_HELP, ("client",)),
                unknown_lanes=running.counters.counter(
                    UNKNOWN_LANES, UNKNOWN_LANES_HELP, ("client", "lane")
                ),
            )
        )
        relay = Relay(
            SERVICE,
            lambda: StreamConsumer(options, GROUP, topics=(names.RECEIVED,)),
            producer,
            judging.process,
            failpoints,
            max_records=settings.validate.max_records,
        )
        register_relay_metrics(relay.status, running.health, running.counters)
        written = (*map(names.outbound, lanes.names), names.EVENTS, names.SUBMISSIONS)
        with (
            OpenTransactions(options),
            probe_brokers(options, (names.RECEIVED,), written, running.health),
        ):
            relay.run(running.stop)
    finally:
        if reader is not None:
            reader.close()
        view.close()
    return OK


def _keys_reader(
    settings: Settings, running: Running, options: ClientOptions
) -> KeyRestorer | None:
    """What keeps the submission keys whole, started; None where repeats are not looked for."""
    validate, redis = settings.validate, settings.redis
    if not validate.duplicate_window_h:
        return None
    window = Window(validate.duplicate_window_h * 3600, validate.submissions_per_day)
    client = store.connect(redis.url, decode_responses=False)
    reader = KeyRestorer(options, client, redis.submissions_key, window, running.clock)
    reader.start()
    running.health.add_ready("submission_keys", reader.fault)
    return reader
