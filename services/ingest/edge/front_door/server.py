"""The SMTP front door, a submission server (RFC 6409): listens, keeps and closes the connections.

Runs on a uvloop event loop in a thread of its own, beside the thread that reads the intakes.

Guarantees: a 250 after DATA is sent only after Kafka has acknowledged the message. While Kafka is
unavailable the reply is 451 within outbox.TIMEOUT_S. After a stop nothing new is accepted; pending
messages are completed and answered, all other connections get a 421.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import uvloop

from services.ingest.core.smtp_server.connection_limiter import (
    ConnectionLimiter,
    ConnectionSlot,
)
from services.ingest.core.smtp_server.rates import FailedLogins, Rate
from services.ingest.edge.front_door.configuration import (
    client_limits,
    connection_limits,
    load_certificates,
    server_options,
    time_limits,
)
from services.ingest.edge.front_door.context import (
    FrontDoorContext,
    HeldBytes,
    register_metrics,
)
from services.ingest.edge.front_door.mail_ids import MailIds
from services.ingest.edge.front_door.message_writer import MessageWriter
from services.ingest.edge.front_door.outbox import Outbox
from services.ingest.edge.front_door.password_verifier import PasswordVerifier
from services.ingest.edge.front_door.refusal_writer import RefusalWriter
from services.ingest.edge.front_door.reservations import ReservedKeys
from services.ingest.edge.front_door.session_policy import SessionPolicy
from services.ingest.edge.front_door.withdrawals import Withdrawals
from services.ingest.edge.smtp_server.connection import SmtpConnection
from services.ingest.edge.smtp_server.context import Connection, ServerContext
from services.ingest.edge.smtp_server.listener import OPEN, TURNED_AWAY, Listener
from services.ingest.settings import IngestSettings
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.runtime.probe import Probe
from shared.runtime.service_cli import Running
from shared.settings.sections import RedisSettings
from shared.store.eviction import policy_client, policy_fault
from shared.stream.kit import StreamKit
from shared.stream.reachability import cleared_by
from shared.stream.transactions import TransactionalProducer
from shared.topics.records import MailEvent, Message

log = logging.getLogger(__name__)

SERVICE: Final = "ingest-door"
DUPLICATES: Final = "ingest-door-repeats"
SWEEP_S: Final = 0.5


class FrontDoor:
    """The listening sockets and connections of one process."""

    def __init__(
        self,
        settings: IngestSettings,
        kit: StreamKit,
        running: Running,
        *,
        redis: RedisSettings,
        client_of: Callable[[str], Client | None],
        brokers: Probe,
    ) -> None:
        """`brokers` is the check of what is written. Raises UsageError for a wrong certificate."""
        self._settings = settings
        self._kit = kit
        self._running = running
        self._redis = redis
        self._client_of = client_of
        self._brokers = brokers
        self._certificates = load_certificates(settings)
        self._connections: set[Connection] = set()
        self._limiter = ConnectionLimiter(connection_limits(settings))
        self._listener: Listener | None = None
        self._thread = threading.Thread(target=self._run, name="front-door")
        self._started = threading.Event()
        self._fault: BaseException | None = None
        self.is_draining = False

    def start(self) -> None:
        """Start listening. Raises UsageError if that is not possible."""
        self._thread.start()
        self._started.wait()
        if isinstance(self._fault, UsageError):
            raise self._fault

    def close(self) -> None:
        """Wait until everything is answered and closed. Raises the error that ended the server."""
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
            self._running.stop.set("the front door failed")
        finally:
            self._started.set()

    async def _serve(self) -> None:
        writer = MessageWriter(
            self._kit.options,
            ReservedKeys(self._redis),
            self._kit.failpoints,
            self._producer(DUPLICATES),
            self._has_client_events,
        )
        refusal_writer = RefusalWriter(self._producer(SERVICE), self._has_client_events)
        withdrawals = Withdrawals(ReservedKeys(self._redis))
        messages = Outbox("door-messages", writer.write, withdrawals.withdraw)
        refusals = Outbox("door-refusals", refusal_writer.write)
        passwords = PasswordVerifier()
        context = self._context(messages, refusals, passwords)
        health = self._running.health
        health.add_ready(
            "front_door", cleared_by(self._brokers, lambda: (writer.fault, writer.failed_at_s))
        )
        policy = Probe("redis policy", partial(policy_fault, policy_client(self._redis.url)))
        policy.start()
        health.add_ready("redis_policy", policy.fault)
        self._running.counters.watch(OPEN, lambda: float(self._limiter.count))
        self._listener = Listener(
            context.server,
            self._limiter,
            self._settings.smtp_proxies,
            partial(_connection, context),
        )
        try:
            self._listen(self._listener)
            self._started.set()
            sweeper = asyncio.create_task(self._sweep())
            await self._running.stop.wait_async()
            await self._drain()
            sweeper.cancel()
        finally:
            await asyncio.gather(messages.close(), refusals.close())
            self._end_all()
            writer.close()
            refusal_writer.close()
            passwords.close()
            await asyncio.to_thread(policy.close)

    def _producer(self, name: str) -> TransactionalProducer:
        return self._kit.producer(name, Failpoints.none())

    def _has_client_events(self, name: str) -> bool:
        client = self._client_of(name)
        return client is not None and client.own_events

    def _context(
        self,
        messages: Outbox[Message],
        refusals: Outbox[tuple[str, MailEvent]],
        passwords: PasswordVerifier,
    ) -> FrontDoorContext:
        settings, counters = self._settings, self._running.counters
        server = ServerContext(
            options=server_options(settings),
            limits=time_limits(settings),
            tls=lambda: self._certificates.context,
            turned_away=counters.counter(TURNED_AWAY),
            connections=self,
        )
        return FrontDoorContext(
            server=server,
            limits=client_limits(settings),
            client_of=self._client_of,
            passwords=passwords,
            failures=FailedLogins(
                settings.smtp_max_failed_logins,
                settings.smtp_max_failed_logins_per_address,
                60.0,
            ),
            rate=Rate(),
            held=HeldBytes(),
            messages=messages,
            refusals=refusals,
            scan=partial(scan, code_header=settings.code_header.lower().encode()),
            new_mail_id=MailIds().make,
            clock=self._running.clock,
            metrics=register_metrics(counters),
            failpoints=self._kit.failpoints,
        )

    def _listen(self, listener: Listener) -> None:
        settings = self._settings
        for is_implicit, addresses in (
            (False, settings.smtp_listen),
            (True, settings.smtps_listen),
        ):
            for address in addresses:
                host, _, port = address.rpartition(":")
                try:
                    is_shared = settings.smtp_shared_ports
                    listener.listen(host.strip("[]"), int(port), is_implicit, is_shared)
                except (OSError, OverflowError) as error:
                    name = "smtps_listen" if is_implicit else "smtp_listen"
                    raise UsageError(f"ingest.{name}: {address}: {error}") from None
                log.info("front door listens", extra={"address": address, "tls": is_implicit})

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            self._certificates.refresh()
            now = loop.time()
            for connection in list(self._connections):
                connection.sweep(now)

    async def _drain(self) -> None:
        self.is_draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            if not connection.is_storing:
                connection.end()

    def _end_all(self) -> None:
        for connection in list(self._connections):
            connection.end()


def _connection(
    context: FrontDoorContext, slot: ConnectionSlot, is_implicit: bool
) -> SmtpConnection:
    return SmtpConnection(context.server, slot, partial(SessionPolicy, context), is_implicit)
