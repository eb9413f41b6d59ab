"""The composition root of ingest: intakes and SMTP in, mail.received and mail.returned out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from services.ingest.edge.bounce_door import server as bounce
from services.ingest.edge.front_door import server as front
from services.ingest.edge.intake.relay import Intake
from services.ingest.edge.intake.topics import IntakeTopics
from services.ingest.edge.smtp_server.server import SmtpServer
from services.ingest.settings import IngestSettings, Settings
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
        with (
            Probe("intake topics", IntakeTopics(settings.kafka).look, INTAKES_EVERY_S),
            kit.watching((), _written(settings.ingest), relay.status) as brokers,
            ExitStack() as opened,
        ):
            _wait_for_registry(view, running.stop)
            for door in _doors(settings, running, kit, view, brokers):
                opened.enter_context(_open(door, running.stop))
            relay.run(running.stop)
    finally:
        view.close()
    return OK


@contextmanager
def _open(door: SmtpServer, stop: Stop) -> Iterator[None]:
    """Have a door listen; at the end wait until it has answered everything."""
    door.start()
    try:
        yield
    finally:
        stop.set("ingest ends")
        door.close()


def _wait_for_registry(view: ClientView, stop: Stop) -> None:
    """Wait for the registry before listening.

    Without it each login would get 535, after which some clients never try again.
    """
    while not (stop.is_set() or view.wait_ready(REGISTRY_LOOK_S)):
        pass


def _written(ingest: IngestSettings) -> tuple[str, ...]:
    """The topics that this process writes to."""
    written = (names.RECEIVED, names.EVENTS, names.REFUSED)
    return (*written, names.RETURNED) if ingest.bounce_listen else written


def _doors(
    settings: Settings, running: Running, kit: StreamKit, view: ClientView, brokers: Probe
) -> list[SmtpServer]:
    """The doors for which an address is named."""
    ingest, doors = settings.ingest, []
    if ingest.smtp_listen or ingest.smtps_listen:
        given = front.Dependencies(ingest, kit, running, settings.redis, view.get, brokers)
        doors.append(front.front_door(given))
    if ingest.bounce_listen:
        returns = settings.return_path
        behind = bounce.Dependencies(ingest, returns, kit, running, view, brokers)
        doors.append(bounce.bounce_door(behind))
    if doors:
        allow_open_files(ingest.smtp_max_connections + ingest.bounce_max_connections)
    return doors
