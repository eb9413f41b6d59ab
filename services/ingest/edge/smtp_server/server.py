"""An SMTP server in its own thread. It listens, keeps a list of its connections, and closes them at
the end.

Each door (front_door/, bounce_door/) is an SmtpServer with a Service. The Service provides the
policies of the connections and the writers to Kafka. The thread of a server runs a uvloop event
loop, beside the thread that reads the intake topics. This module also loads the certificate that
the settings of a door specify.

start() returns when the server listens, or raises an exception. After a stop, no new connection is
accepted. Pending messages are completed and answered, and all other connections get a 421. If the
server crashes, the process stops, and close() raises the error of the crash.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import uvloop
from msgspec import Struct

from services.ingest.core.smtp_server.connection_limiter import (
    ConnectionLimiter,
    ConnectionLimits,
    ConnectionSlot,
)
from services.ingest.edge.smtp_server.connection import SmtpConnection
from services.ingest.edge.smtp_server.context import (
    Connection,
    Connections,
    Conversation,
    Policy,
    ServerContext,
)
from services.ingest.edge.smtp_server.listener import Listener
from services.ingest.settings import IngestSettings
from shared.runtime.checks import EventLoopBeat, Progress
from shared.runtime.errors import UsageError
from shared.runtime.reloaded_files import Certificates
from shared.runtime.service_cli import Running
from shared.runtime.telemetry import Metric
from shared.settings.addresses import split_address

log = logging.getLogger(__name__)

SWEEP_S: Final = 0.5


class ListenAt(Struct, frozen=True):
    """An address to listen on, and the name of its setting. `is_implicit` is True if TLS begins at
    once."""

    address: str
    setting: str
    is_implicit: bool = False


class ServerPlan(Struct, frozen=True):
    """The addresses and the connection limits of a server.

    `name`, for example "front door", is used in error messages and in the log. `is_shared` is True
    if other processes may listen on the same addresses. `connections` is the gauge of open
    connections.
    """

    name: str
    listen: tuple[ListenAt, ...]
    is_shared: bool
    proxies: tuple[str, ...]
    limits: ConnectionLimits
    connections: Metric


class Service(Protocol):
    """Provides the policies of a server's connections, and the writers to Kafka. Used on the event
    loop of the server."""

    @property
    def context(self) -> ServerContext:
        """Return the values that the connections share."""
        ...

    def new_policy(self, conversation: Conversation) -> Policy:
        """Return the policy of a new connection."""
        ...

    def refresh(self) -> None:
        """Reload changed files. The server calls this method every SWEEP_S."""
        ...

    async def settle(self) -> None:
        """Wait until every pending message is answered. During this time, no new message
        arrives."""
        ...

    async def close(self) -> None:
        """Close the writers. The server calls this method after settle(), when all connections have
        ended."""
        ...


class SmtpServer:
    """The listening sockets and connections of one server. Implements context.Connections."""

    def __init__(
        self, plan: ServerPlan, running: Running, open_service: Callable[[Connections], Service]
    ) -> None:
        """`open_service` is called on the event loop, before the first connection is accepted."""
        self._plan = plan
        self._running = running
        self._open_service = open_service
        self._connections: set[Connection] = set()
        self._limiter = ConnectionLimiter(plan.limits)
        self._thread = threading.Thread(target=self._run, name=plan.name.replace(" ", "-"))
        self._started = threading.Event()
        self._fault: BaseException | None = None
        self.is_draining = False

    def start(self) -> None:
        """Start the thread and wait until the server listens, or raise UsageError."""
        self._thread.start()
        self._started.wait()
        if isinstance(self._fault, UsageError):
            raise self._fault

    def close(self) -> None:
        """Wait until all messages are answered and all connections are closed.

        If the server has crashed, raises the error of the crash.
        """
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def add(self, connection: Connection) -> None:
        """Add a connection that was opened."""
        self._connections.add(connection)

    def remove(self, connection: Connection) -> None:
        """Remove a connection that was closed."""
        self._connections.discard(connection)

    # -- inside

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._fault = error
            self._running.stop.set(f"the {self._plan.name} failed")
        finally:
            self._started.set()

    async def _serve(self) -> None:
        plan, running = self._plan, self._running
        beat = EventLoopBeat(asyncio.get_running_loop())
        live = Progress(f"the {plan.name}", beat.count, lambda: running.stop.reason)
        running.health.add_live(f"{plan.name.replace(' ', '_')}_loop", live)
        running.counters.watch(plan.connections, lambda: float(self._limiter.count))
        service = self._open_service(self)
        serve = partial(self._connection, service)
        listener = Listener(service.context, self._limiter, plan.proxies, serve)
        try:
            self._listen(listener)
            self._started.set()
            sweeper = asyncio.create_task(self._sweep(service))
            await running.stop.wait_async()
            self._drain(listener)
            sweeper.cancel()
        finally:
            listener.close()
            await service.settle()
            self._end_all()
            await service.close()

    def _connection(
        self, service: Service, slot: ConnectionSlot, is_implicit: bool
    ) -> SmtpConnection:
        return SmtpConnection(service.context, slot, service.new_policy, is_implicit)

    def _listen(self, listener: Listener) -> None:
        for at in self._plan.listen:
            host, port = split_address(at.address)
            try:
                bound = listener.listen(host, port, at.is_implicit, self._plan.is_shared)
            except OSError as error:
                raise UsageError(f"{at.setting}: {at.address}: {error}") from None
            for where in bound:
                fields = {"address": where, "tls": at.is_implicit}
                log.info("%s listens", self._plan.name, extra=fields)

    async def _sweep(self, service: Service) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            service.refresh()
            now = loop.time()
            for connection in list(self._connections):
                connection.sweep(now)

    def _drain(self, listener: Listener) -> None:
        self.is_draining = True
        listener.close()
        for connection in list(self._connections):
            if not connection.is_storing:
                connection.end()

    def _end_all(self) -> None:
        for connection in list(self._connections):
            connection.end()


def load_pair(settings: IngestSettings, certificate: str, key: str) -> Certificates | None:
    """Load the certificate and key files that these settings specify. Return None if the settings
    are empty. Raises UsageError."""
    paths = getattr(settings, certificate), getattr(settings, key)
    if not any(paths):
        return None
    if not all(paths):
        raise UsageError(f"ingest.{certificate} and ingest.{key} must be set together")
    return Certificates(*paths, f"ingest.{certificate}, ingest.{key}")
