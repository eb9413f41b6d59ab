"""The composition root of validate: mail.received in, mail.outbound.<lane> out."""

from __future__ import annotations

import os
from typing import Final

from services.validate.core.lanes import Lanes
from services.validate.core.verdict import Policy
from services.validate.edge.judging import SERVICE, Judging
from services.validate.settings import Settings
from shared.registry.view import ClientView
from shared.runtime.lifecycle import WELL
from shared.runtime.service_cli import Running
from shared.stream.admin import ensure_topics_until
from shared.stream.client import options_of
from shared.stream.consumer import StreamConsumer
from shared.stream.failpoints import Failpoints
from shared.stream.relay import Relay
from shared.stream.telling import tell_relay
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.topics import names

GROUP: Final = "sluice.validate"


def serve(settings: Settings, running: Running) -> int:
    """Work until asked to stop."""
    kafka = settings.kafka
    lanes = Lanes(settings.validate.lanes)
    failpoints = Failpoints.parse(os.environ.get("SLUICE_FAILPOINT", ""))
    topics = names.plans(lanes.names, kafka.partitions)
    if not ensure_topics_until(running.stop, kafka.bootstrap, topics, kafka.replication):
        return WELL
    view = ClientView(kafka)
    view.start()
    try:
        options = options_of(kafka, settings.runtime)
        producer = TransactionalProducer(options, SERVICE, failpoints, Watchdog())
        policy = Policy(settings.validate.max_message_bytes, lanes)
        judging = Judging(view, policy, producer.partitions_for, running.clock)
        relay = Relay(
            SERVICE,
            lambda heard: StreamConsumer(options, GROUP, heard, topics=(names.RECEIVED,)),
            producer,
            judging.process,
            failpoints,
        )
        relay.max_records = settings.validate.max_records
        tell_relay(relay.status, running.health, running.counters)
        relay.run(running.stop)
    finally:
        view.close()
    return WELL
