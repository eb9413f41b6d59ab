"""The composition root of ingest: intakes in, mail.received out."""

from __future__ import annotations

import os
from functools import partial
from typing import Final

from services.ingest.edge.front_door.server import FrontDoor, FrontDoorDependencies
from services.ingest.edge.intake.relay import SERVICE, Intake
from services.ingest.edge.intake.topics import IntakeTopics
from services.ingest.settings import Settings
from shared.registry.store.view import ClientView
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import OK, Stop
from shared.runtime.open_files import allow_open_files
from shared.runtime.probe import Probe
from shared.runtime.service_cli import Running
from shared.stream.admin import ensure_topics_until
from shared.stream.client import options_of
from shared.stream.client_events import ClientEvents
from shared.stream.consumer import StreamConsumer
from shared.stream.open_transactions import OpenTransactions
from shared.stream.reachability import probe_brokers
from shared.stream.relay import Relay
from shared.stream.status_metrics import register_relay_metrics
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import watchdog_of
from shared.topics import names
from shared.topics.names import INTAKE_PATTERN, plans

GROUP: Final = "sluice.ingest"
REGISTRY_LOOK_S: Final = 0.2
# How long a topic that somebody creates by hand may keep the broker's default configs.
INTAKES_EVERY_S: Final = 5.0


def serve(settings: Settings, running: Running) -> int:
    """Work until asked to stop."""
    kafka = settings.kafka
    failpoints = Failpoints.parse(os.environ.get("SLUICE_FAILPOINT", ""))
    topics = plans((), kafka.partitions)
    if not ensure_topics_until(running.stop, kafka, topics):
        return OK
    options = options_of(kafka, settings.runtime)
    view = ClientView(kafka)
    view.start()
    try:
        intake = Intake(view, settings.ingest.code_header, running.clock)
        relay = Relay(
            SERVICE,
            lambda: StreamConsumer(options, GROUP, pattern=INTAKE_PATTERN),
            TransactionalProducer(
                options, SERVICE, failpoints, watchdog_of(options), ClientEvents(kafka)
            ),
            intake.process,
            failpoints,
            max_records=settings.ingest.max_records,
        )
        register_relay_metrics(relay.status, running.health, running.counters)
        written = (names.RECEIVED, names.EVENTS, names.REFUSED)
        with (
            Probe("intake topics", IntakeTopics(kafka).look, INTAKES_EVERY_S),
            probe_brokers(options, (), written, running.health) as brokers,
        ):
            _wait_for_registry(view, running.stop)
            door = _front_door(settings, running, view, failpoints, brokers)
            try:
                with OpenTransactions(options):
                    relay.run(running.stop)
            finally:
                running.stop.set("ingest ends")
                if door is not None:
                    door.close()
    finally:
        view.close()
    return OK


def _wait_for_registry(view: ClientView, stop: Stop) -> None:
    """Nobody could log in before it has been read, and 535 would make some give up for good."""
    while not (stop.is_set() or view.wait_ready(REGISTRY_LOOK_S)):
        pass


def _front_door(
    settings: Settings,
    running: Running,
    view: ClientView,
    failpoints: Failpoints,
    brokers: Probe,
) -> FrontDoor | None:
    """The front door, listening; None where no address is named for it."""
    ingest = settings.ingest
    if not (ingest.smtp_listen or ingest.smtps_listen):
        return None
    allow_open_files(ingest.smtp_max_connections)
    options = options_of(settings.kafka, settings.runtime)
    own_events = partial(ClientEvents, settings.kafka)
    door = FrontDoor(
        FrontDoorDependencies(
            ingest, options, settings.redis, view.get, running, failpoints, own_events, brokers
        )
    )
    door.start()
    return door
