"""The composition root of ingest: intakes in, mail.received out."""

from __future__ import annotations

from typing import Final

from services.ingest.edge.front_door.server import FrontDoor
from services.ingest.edge.intake.relay import Intake
from services.ingest.edge.intake.topics import IntakeTopics
from services.ingest.settings import Settings
from shared.registry.store.view import ClientView
from shared.runtime.lifecycle import OK, Stop
from shared.runtime.open_files import allow_open_files
from shared.runtime.probe import Probe
from shared.runtime.service_cli import Running
from shared.stream.kit import StreamKit
from shared.topics import names

REGISTRY_LOOK_S: Final = 0.2
# How long a topic that somebody creates by hand may keep the broker's default configs.
INTAKES_EVERY_S: Final = 5.0


def serve(settings: Settings, running: Running) -> int:
    """Work until asked to stop."""
    kit = StreamKit(settings.kafka, settings.runtime, running)
    if not kit.ensure_topics():
        return OK
    view = ClientView(settings.kafka)
    view.start()
    try:
        intake = Intake(view, settings.ingest.code_header, running.clock)
        relay = kit.relay(
            kit.consumer(pattern=names.INTAKE_PATTERN),
            kit.producer(),
            intake.process,
            max_records=settings.ingest.max_records,
        )
        written = (names.RECEIVED, names.EVENTS, names.REFUSED)
        with (
            Probe("intake topics", IntakeTopics(settings.kafka).look, INTAKES_EVERY_S),
            kit.watching((), written) as brokers,
        ):
            _wait_for_registry(view, running.stop)
            door = _front_door(settings, running, kit, view, brokers)
            try:
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
    settings: Settings, running: Running, kit: StreamKit, view: ClientView, brokers: Probe
) -> FrontDoor | None:
    """The front door, listening; None where no address is named for it."""
    ingest = settings.ingest
    if not (ingest.smtp_listen or ingest.smtps_listen):
        return None
    allow_open_files(ingest.smtp_max_connections)
    door = FrontDoor(
        ingest, kit, running, redis=settings.redis, client_of=view.get, brokers=brokers
    )
    door.start()
    return door
