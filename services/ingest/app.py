"""Builds the parts of the ingest service and runs them.

The ingest service accepts messages from the intake topics and by SMTP, and writes mail.received and
mail.returned. By default, a process reads the intake topics and serves the doors. If
`ingest.reads_intakes` is off, the process serves only the doors for which it has addresses, and
joins no consumer group. So any number of such processes may run beside processes that read the
intake topics or serve the same doors. A message is processed by the process to which its client is
connected. Processes do not pass messages to one another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from services.ingest.edge.bounce_door import server as bounce
from services.ingest.edge.front_door import server as front
from services.ingest.edge.intake.relay import Intake
from services.ingest.edge.intake.topics import IntakeTopics
from services.ingest.edge.smtp_server.server import SmtpServer
from services.ingest.settings import IngestSettings, Settings
from shared.registry.lookup import WithRemoved
from shared.registry.store.view import ClientView
from shared.runtime.checks import Probe
from shared.runtime.errors import UsageError
from shared.runtime.lifecycle import OK, Stop
from shared.runtime.machine import allow_open_files
from shared.runtime.service_cli import Running
from shared.stream.kit import StreamKit
from shared.stream.relay import Relay
from shared.topics import names

REGISTRY_LOOK_S: Final = 0.2
# An intake topic that somebody creates manually keeps the broker's default configs for at most
# about this time.
INTAKES_EVERY_S: Final = 5.0


def serve(settings: Settings, running: Running) -> int:
    """Run until `running.stop` is set. Raises UsageError if a process with these settings would do
    nothing."""
    require_work(settings.ingest)
    kit = StreamKit(settings.kafka, settings.runtime, running)
    if not kit.ensure_topics():
        return OK
    view = ClientView(settings.kafka)
    listening = threading.Event()
    if has_door(settings.ingest):
        running.health.add_ready("doors", lambda: "" if listening.is_set() else "not open yet")
    view.start()
    relay = _intake(settings, running, kit, view) if settings.ingest.reads_intakes else None
    status = relay.status if relay is not None else None
    try:
        with (
            kit.watching((), written(settings.ingest), status) as brokers,
            ExitStack() as opened,
        ):
            if relay is not None:
                look = IntakeTopics(settings.kafka).look
                opened.enter_context(Probe("intake topics", look, INTAKES_EVERY_S))
            _wait_for_registry(view, running.stop)
            for door in _doors(settings, running, kit, view, brokers):
                opened.enter_context(_open(door, running.stop))
            listening.set()
            if relay is not None:
                relay.run(running.stop)
            else:
                running.stop.wait()
    finally:
        view.close()
    return OK


def require_work(ingest: IngestSettings) -> None:
    """Raise UsageError if a process with these settings would do nothing."""
    if not (ingest.reads_intakes or has_door(ingest)):
        raise UsageError(
            "ingest.reads_intakes: false, and no door has an address, so this process would do"
            " nothing; set ingest.smtp_listen, ingest.smtps_listen or ingest.bounce_listen"
        )


def has_front_door(ingest: IngestSettings) -> bool:
    """Return True if the process serves the front door."""
    return bool(ingest.smtp_listen or ingest.smtps_listen)


def has_door(ingest: IngestSettings) -> bool:
    """Return True if the process serves at least one door."""
    return has_front_door(ingest) or bool(ingest.bounce_listen)


def written(ingest: IngestSettings) -> tuple[str, ...]:
    """Return the topics to which a process with these settings writes."""
    found: tuple[str, ...] = ()
    if ingest.reads_intakes or has_front_door(ingest):
        found += (names.RECEIVED, names.EVENTS, names.REFUSED)
    if ingest.bounce_listen:
        found += (names.RETURNED,)
    return found


def _intake(settings: Settings, running: Running, kit: StreamKit, view: ClientView) -> Relay:
    """Create the relay that reads the intake topics."""
    intake = Intake(WithRemoved(view), settings.ingest.code_header, running.clock)
    return kit.relay(
        kit.consumer(pattern=names.INTAKE_PATTERN),
        kit.producer(writes=written(settings.ingest)),
        intake.process,
        max_records=settings.ingest.max_records,
    )


@contextmanager
def _open(door: SmtpServer, stop: Stop) -> Iterator[None]:
    """Start a door. At the end of the block, stop the process and wait until the door has answered
    all messages."""
    door.start()
    try:
        yield
    finally:
        stop.set("ingest ends")
        door.close()


def _wait_for_registry(view: ClientView, stop: Stop) -> None:
    """Wait until the registry is loaded. The doors listen only afterwards.

    Before the registry is loaded, every login would get 535, and some clients never try again after
    a 535.
    """
    while not (stop.is_set() or view.wait_ready(REGISTRY_LOOK_S)):
        pass


def _doors(
    settings: Settings, running: Running, kit: StreamKit, view: ClientView, brokers: Probe
) -> list[SmtpServer]:
    """Return the doors for which the settings contain an address."""
    ingest, doors = settings.ingest, []
    if has_front_door(ingest):
        given = front.Dependencies(
            ingest, kit, running, settings.redis, view.get, brokers, view.removed
        )
        doors.append(front.front_door(given))
    if ingest.bounce_listen:
        returns = settings.return_path
        behind = bounce.Dependencies(ingest, returns, kit, running, WithRemoved(view), brokers)
        doors.append(bounce.bounce_door(behind))
    if doors:
        allow_open_files(ingest.smtp_max_connections + ingest.bounce_max_connections)
    return doors
