"""The SMTP front door: listens, keeps the connections, ends them in good order.

Runs on a uvloop loop in a thread of its own, beside the thread that reads the intakes.

Promises: a 250 to the final dot is sent only after Kafka has acknowledged the message. While
Kafka is away the answer is 451 within outbox.TIMEOUT_S. On stop() nothing new is taken, what was
handed over is waited for and answered, all others hear 421.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter as Tally
from collections.abc import Callable
from functools import partial
from typing import Final

import uvloop
from msgspec import Struct

from services.ingest.core.access import FailedLogins, Rate, counted_as
from services.ingest.edge.certificates import Certificates
from services.ingest.edge.door import Connection, Door, DoorCounts, Limits
from services.ingest.edge.door_connection import DoorConnection
from services.ingest.edge.logins import Logins
from services.ingest.edge.outbox import MessageWriter, Outbox, RefusalWriter
from services.ingest.settings import IngestSettings
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.runtime.lifecycle import WrongUse
from shared.runtime.service_cli import Running
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply
from shared.smtp.server import ServerOptions
from shared.stream.client import ClientOptions
from shared.stream.failpoints import Failpoints
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.topics import ids
from shared.topics.records import MailEvent, Message

log = logging.getLogger(__name__)

SERVICE: Final = "ingest-door"
SWEEP_S: Final = 0.5
# Sockets that wait to be accepted; bursts of connects are normal for bulk senders.
BACKLOG: Final = 1_024
MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_NONCE_BYTES: Final = 18
_MAIL_ID_BYTES: Final = 10
_FULL: Final = Reply(421, "4.3.2", "Too many connections; try again later")

ACCEPTED: Final = "sluice_ingest_door_accepted"
REFUSED: Final = "sluice_ingest_door_refused"
DEFERRED: Final = "sluice_ingest_door_deferred"
FAILED_LOGINS: Final = "sluice_ingest_door_failed_logins"
OPEN: Final = "sluice_ingest_door_connections"
HELP: Final = {
    ACCEPTED: "Messages answered with 250, by client.",
    REFUSED: "Messages refused at the final dot, by client.",
    DEFERRED: "Messages answered with 451 because Kafka did not acknowledge, by client.",
    FAILED_LOGINS: "Logins refused.",
    OPEN: "Open SMTP connections.",
}


class Means(Struct, frozen=True):
    """What a front door is given."""

    settings: IngestSettings
    kafka: ClientOptions
    client_of: Callable[[str], Client | None]
    running: Running
    failpoints: Failpoints


class FrontDoor:
    """Every listening socket and connection of one process."""

    def __init__(self, means: Means) -> None:
        """Raises WrongUse for settings that do not fit together."""
        self._means = means
        settings = means.settings
        self._certificates = _certificates(settings)
        self._connections: dict[Connection, DoorConnection] = {}
        self._by_address: Tally[str] = Tally()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._run, name="front-door")
        self._started = threading.Event()
        self._fault: BaseException | None = None
        self.held_bytes = 0
        self.is_draining = False

    def start(self) -> None:
        """Listen; raises WrongUse where that is not possible."""
        self._thread.start()
        self._started.wait()
        if isinstance(self._fault, WrongUse):
            raise self._fault

    def close(self) -> None:
        """Wait until everything is answered and closed; raises what ended the door by itself."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._connections.pop(connection, None)
        key = counted_as(connection.address)
        self._by_address[key] -= 1
        if self._by_address[key] <= 0:
            del self._by_address[key]

    # -- inside

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._fault = error
            self._means.running.stop.set("the front door failed")
        finally:
            self._started.set()

    async def _serve(self) -> None:
        means = self._means
        writer = MessageWriter(means.kafka, means.failpoints)
        producer = TransactionalProducer(means.kafka, SERVICE, Failpoints.none(), Watchdog())
        refusal_writer = RefusalWriter(producer)
        messages = Outbox("door-messages", writer.write)
        refusals = Outbox("door-refusals", refusal_writer.write)
        logins = Logins()
        door = self._door(messages, refusals, logins)
        means.running.health.add_ready("front_door", lambda: writer.fault)
        means.running.counters.watch(OPEN, HELP[OPEN], lambda: float(len(self._connections)))
        try:
            await self._listen(door)
            self._started.set()
            sweeper = asyncio.create_task(self._sweep())
            await means.running.stop.wait_async()
            await self._drain()
            sweeper.cancel()
        finally:
            await asyncio.gather(messages.close(), refusals.close())
            self._end_all()
            writer.close()
            refusal_writer.close()
            logins.close()

    def _door(
        self,
        messages: Outbox[Message],
        refusals: Outbox[tuple[str, MailEvent]],
        logins: Logins,
    ) -> Door:
        means, settings = self._means, self._means.settings
        counters = means.running.counters
        by_client = ("client",)
        return Door(
            options=_options(settings, self._certificates is not None),
            limits=Limits(
                settings.smtp_greeting_delay_s,
                settings.smtp_idle_timeout_s,
                settings.smtp_data_timeout_s,
                settings.smtp_max_held_bytes,
            ),
            client_of=means.client_of,
            logins=logins,
            failures=FailedLogins(settings.smtp_max_failed_logins, 60.0),
            rate=Rate(settings.smtp_messages_per_minute),
            messages=messages,
            refusals=refusals,
            scan=partial(scan, code_header=settings.code_header.lower().encode()),
            new_mail_id=lambda now_ms: ids.make(now_ms, os.urandom(_MAIL_ID_BYTES)),
            clock=means.running.clock,
            counts=DoorCounts(
                counters.counter(ACCEPTED, HELP[ACCEPTED], by_client),
                counters.counter(REFUSED, HELP[REFUSED], by_client),
                counters.counter(DEFERRED, HELP[DEFERRED], by_client),
                counters.counter(FAILED_LOGINS, HELP[FAILED_LOGINS]),
            ),
            failpoints=means.failpoints,
            connections=self,
            tls=lambda: self._certificates.context if self._certificates else None,
        )

    async def _listen(self, door: Door) -> None:
        loop = asyncio.get_running_loop()
        settings = self._means.settings
        for is_implicit, addresses in (
            (False, settings.smtp_listen),
            (True, settings.smtps_listen),
        ):
            for address in addresses:
                host, _, port = address.rpartition(":")
                factory = partial(self._connect, door, is_implicit)
                try:
                    server = await loop.create_server(
                        factory,
                        host.strip("[]") or None,
                        int(port),
                        backlog=BACKLOG,
                        ssl=door.tls() if is_implicit else None,
                    )
                except OSError as error:
                    name = "smtps_listen" if is_implicit else "smtp_listen"
                    raise WrongUse(f"ingest.{name}: {address}: {error}") from None
                self._servers.append(server)
                log.info("front door listens", extra={"address": address, "tls": is_implicit})

    def _connect(self, door: Door, is_implicit: bool) -> DoorConnection:
        return DoorConnection(door, self._admit, is_implicit)

    def _admit(self, connection: DoorConnection) -> Reply | None:
        """Keep a new connection; the refusal where there are too many."""
        settings = self._means.settings
        self._connections[connection] = connection
        key = counted_as(connection.address)
        self._by_address[key] += 1
        if len(self._connections) > settings.smtp_max_connections:
            return _FULL
        if self._by_address[key] > settings.smtp_max_connections_per_address:
            return _FULL
        return None

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            if self._certificates is not None:
                self._certificates.refresh()
            now = loop.time()
            for connection in list(self._connections.values()):
                connection.sweep(now)

    async def _drain(self) -> None:
        self.is_draining = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            if not connection.is_storing:
                connection.end()

    def _end_all(self) -> None:
        for connection in list(self._connections.values()):
            connection.end()


def _certificates(settings: IngestSettings) -> Certificates | None:
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if bool(certificate) != bool(key):
        raise WrongUse("ingest.tls_certificate_file and ingest.tls_key_file go together")
    if not certificate:
        raise WrongUse(
            "ingest.tls_certificate_file: found nothing, expected a PEM file: clients log in"
            " only over TLS, so a front door (ingest.smtp_listen) without it serves nobody"
        )
    return Certificates(certificate, key)


def _options(settings: IngestSettings, has_tls: bool) -> ServerOptions:
    return ServerOptions(
        host=settings.smtp_host_name,
        extensions=Extensions(
            pipelining=True,
            size=True,
            eight_bit_mime=True,
            smtputf8=True,
            enhanced_status_codes=True,
            starttls=has_tls,
        ),
        max_content_bytes=settings.smtp_max_message_bytes,
        auth_mechanisms=MECHANISMS,
        requires_auth=True,
        nonce=lambda: os.urandom(_NONCE_BYTES).hex(),
    )
