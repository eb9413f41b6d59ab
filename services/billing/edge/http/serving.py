"""Builds the parts of the HTTP API: keys, registered clients, views of the counts, and the
server."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from zoneinfo import ZoneInfo

from services.billing.core.month import Months
from services.billing.edge.cells import open_cells
from services.billing.edge.http.app import make_app
from services.billing.edge.http.messages import MessageRoutes
from services.billing.edge.http.quotas import QuotaRoutes
from services.billing.edge.log_ends import EndsAsker
from services.billing.edge.statements.topic import StatementTopic
from services.billing.edge.views.books import Books
from services.billing.edge.views.reader import ReaderParts, UsageReader
from services.billing.edge.views.shelf import Shelf
from services.billing.edge.views.warming import Warmer
from services.billing.settings import Settings
from shared.access.view import KeyView
from shared.audit.event_log import EventLog
from shared.http_api.keyed import AccessPolicy
from shared.http_api.server import ApiServer
from shared.quotas.view import QuotaView
from shared.registry.client import Client
from shared.registry.store.view import ClientView
from shared.runtime.service_cli import Running
from shared.stream.kit import StreamKit


class Api:
    """Serves requests as soon as it is constructed, until close(). Reads keys, clients and quotas
    from start() until close()."""

    def __init__(
        self, settings: Settings, running: Running, kit: StreamKit, ends: EndsAsker
    ) -> None:
        billing = settings.billing
        self._keys = KeyView(kit.options, "billing", running.clock)
        self._clients = ClientView(settings.kafka, settings.runtime.instance, running.clock)
        self._books = Books(StatementTopic(kit.options), running.clock)
        # Requests use another connection than the counting loop, so that they never wait for it.
        cells = open_cells(billing, settings.redis, is_waited_for=True)
        self._shelf = Shelf(cells, running.clock, is_renewed=True)
        months = Months(ZoneInfo(billing.time_zone))
        self._warmer = Warmer(self._shelf, months, running.clock, self._books)
        reader = UsageReader(
            ReaderParts(self._shelf, self._books, ends, months, running.clock, self.registered)
        )
        is_open = billing.serve_without_keys
        running.health.add_ready("keys", lambda: "" if is_open else self._keys.fault())
        running.health.add_ready("views", lambda: self._warmer.fault)
        policy = AccessPolicy(self._keys, running.clock, billing.requests_per_minute, is_open)
        self.quotas = QuotaView(kit.options)
        quotas = QuotaRoutes(self.registered, self.quotas, running.clock)
        messages = MessageRoutes(reader, months, partial(EventLog, kit.options))
        app = make_app(reader, months, policy, (quotas, messages))
        self._server = ApiServer(app, billing.http_host, billing.http_port, "billing.http_port")
        self.host, self.port = self._server.host, self._server.port

    def start(self) -> None:
        """Begin to read keys, clients and quotas. Call this only after their topics exist."""
        self._keys.start()
        self._clients.start()
        self.quotas.start()
        self._warmer.start()

    def close(self) -> None:
        """Stop the server, and then all parts that the server uses."""
        self._server.close()
        self._keys.close()
        self._clients.close()
        self.quotas.close()
        self._warmer.close()
        self._books.close()
        self._shelf.close()

    def registered(self) -> Mapping[str, Client] | None:
        """Return the registered clients by name. Return None while they are not known."""
        return self._clients.clients() if self._clients.ready() else None
