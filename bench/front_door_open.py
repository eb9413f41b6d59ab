"""The front door for comparisons only: the same, but it also takes mail in plain and without AUTH.

What TLS costs can only be told against the same server without TLS, and smtp-source speaks
neither TLS nor AUTH. In earnest there is no such door: this lets everybody submit as the bench's
client, which is why it is a program of the bench and not a setting. Configured as ingest is; it
reads no intake, and everything from the session to Kafka is ingest's own code.

    python -m bench.front_door_open
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from msgspec.structs import replace

from services.ingest.edge.door import Door
from services.ingest.edge.front_door import FrontDoor, Means
from services.ingest.settings import Settings
from shared.registry.client import Client
from shared.registry.store.view import ClientView
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import WELL
from shared.runtime.service_cli import Running, run_service
from shared.stream.client import options_of
from shared.stream.own_events import OwnEvents
from shared.stream.reachability import probe_brokers
from shared.topics import names

# Names the registered client as whom everybody submits.
CLIENT_VARIABLE = "SLUICE_BENCH_CLIENT"


class _OpenDoor(FrontDoor):
    """Takes MAIL before a login; whoever has not logged in is the bench's client."""

    def _door(self, *args: Any) -> Door:
        door = super()._door(*args)
        name = os.environ[CLIENT_VARIABLE]
        client_of = door.client_of

        def find(username: str) -> Client | None:
            return client_of(username or name)

        return replace(door, options=replace(door.options, requires_auth=False), client_of=find)


def serve(settings: Settings, running: Running) -> int:
    """Work until asked to stop."""
    view = ClientView(settings.kafka)
    view.start()
    try:
        kafka = options_of(settings.kafka, settings.runtime)
        with probe_brokers(kafka, (), (names.RECEIVED,), running.health) as brokers:
            means = Means(
                settings=settings.ingest,
                kafka=kafka,
                redis=settings.redis,
                client_of=view.get,
                running=running,
                failpoints=Failpoints.none(),
                own_events=partial(OwnEvents, settings.kafka),
                brokers=brokers,
            )
            door = _OpenDoor(means)
            door.start()
            door.close()
    finally:
        view.close()
    return WELL


if __name__ == "__main__":
    run_service("ingest", Settings, serve)
