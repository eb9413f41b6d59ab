"""Runs a front door that also accepts mail without TLS and AUTH. It is only for comparisons.

The cost of TLS can only be measured against the same server without TLS, and smtp-source supports
neither TLS nor AUTH. Anybody may submit mail to this server as the client of the benchmark. So the
server is a program of the benchmark and not a setting of the ingest service. The server is
configured like the ingest service, but it reads no intake. From the session to Kafka, the server
uses the code of the ingest service.

    python -m bench.front_door_open
"""

from __future__ import annotations

import os
from typing import Any

from msgspec.structs import replace

from services.ingest.edge.front_door.context import FrontDoorContext
from services.ingest.edge.front_door.server import Dependencies, FrontDoorService, front_door
from services.ingest.settings import Settings
from shared.registry.client import Client
from shared.registry.store.view import ClientView
from shared.runtime.lifecycle import OK
from shared.runtime.service_cli import Running, run_service
from shared.stream.kit import StreamKit
from shared.topics import names

# The environment variable with the name of a registered client. All mail is submitted as this
# client.
CLIENT_VARIABLE = "SLUICE_BENCH_CLIENT"


class _OpenService(FrontDoorService):
    """A front door that accepts MAIL before a login, and treats a peer without a login as the
    client of the benchmark."""

    def make_context(self, *args: Any) -> FrontDoorContext:
        context = super().make_context(*args)
        name = os.environ[CLIENT_VARIABLE]
        client_of = context.client_of

        def find(username: str) -> Client | None:
            return client_of(username or name)

        options = replace(context.server.options, requires_auth=False)
        return replace(context, server=replace(context.server, options=options), client_of=find)


def serve(settings: Settings, running: Running) -> int:
    """Run the open front door until a signal stops the process."""
    view = ClientView(settings.kafka)
    view.start()
    try:
        kit = StreamKit(settings.kafka, settings.runtime, running)
        with kit.watching((), (names.RECEIVED,)) as brokers:
            given = Dependencies(settings.ingest, kit, running, settings.redis, view.get, brokers)
            door = front_door(given, _OpenService)
            door.start()
            door.close()
    finally:
        view.close()
    return OK


if __name__ == "__main__":
    run_service("ingest", Settings, serve)
