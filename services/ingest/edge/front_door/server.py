"""Builds the SMTP front door, an SmtpServer that accepts mail from clients. It is a submission
server (RFC 6409).

This module builds the front door and checks its readiness. Listening and closing are in
smtp_server/server.py, and the answers are in session_policy.py.

The reply 250 after DATA is sent only after Kafka has acknowledged the message. While Kafka is
unavailable, the reply is 451, and it is sent within outbox.TIMEOUT_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Struct

from services.ingest.core.front_door.policy import HeldBytes
from services.ingest.core.smtp_server.rates import FailedLogins, Rate
from services.ingest.edge.front_door.context import (
    CERTIFICATE,
    TURNED_AWAY,
    FrontDoorContext,
    client_limits,
    load_certificates,
    register_metrics,
    server_options,
    server_plan,
    time_limits,
)
from services.ingest.edge.front_door.message_writer import FAILPOINTS, MessageWriter, RefusalWriter
from services.ingest.edge.front_door.password_verifier import PasswordVerifier
from services.ingest.edge.front_door.reservations import ReservedKeys, Withdrawals
from services.ingest.edge.front_door.session_policy import SessionPolicy
from services.ingest.edge.smtp_server.context import (
    Connections,
    Conversation,
    Policy,
    ServerContext,
)
from services.ingest.edge.smtp_server.server import SmtpServer
from services.ingest.edge.writing.mail_ids import MailIds
from services.ingest.edge.writing.outbox import Outbox
from services.ingest.edge.writing.record_sender import RecordSender
from services.ingest.settings import IngestSettings
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.runtime.checks import Probe
from shared.runtime.failpoints import Failpoints
from shared.runtime.reloaded_files import Certificates
from shared.runtime.service_cli import Running
from shared.settings.sections import RedisSettings
from shared.store.eviction import policy_client, policy_fault
from shared.stream.kit import StreamKit
from shared.stream.reachability import cleared_by

SERVICE: Final = "ingest-door"
DUPLICATES: Final = "ingest-door-repeats"


class Dependencies(Struct, frozen=True):
    """The collaborators of the front door. `brokers` checks the brokers of the topics to which the
    door writes."""

    settings: IngestSettings
    kit: StreamKit
    running: Running
    redis: RedisSettings
    client_of: Callable[[str], Client | None]
    brokers: Probe
    removed_client_of: Callable[[str], Client | None] = lambda _: None


class FrontDoorService:
    """Provides the policies and writers of the front door. Implements
    smtp_server.server.Service."""

    def __init__(
        self, given: Dependencies, certificates: Certificates, connections: Connections
    ) -> None:
        kit, client_of = given.kit, given.client_of
        self._certificates = certificates

        def has_client_events(name: str) -> bool:
            client = client_of(name)
            return client is not None and client.own_events

        self._sender = RecordSender("front door", kit.options, kit.failpoints, FAILPOINTS)
        self._writer = MessageWriter(
            self._sender,
            ReservedKeys(given.redis),
            kit.failpoints,
            kit.producer(DUPLICATES, Failpoints.none()),
            has_client_events,
        )
        self._refusal_writer = RefusalWriter(
            kit.producer(SERVICE, Failpoints.none()), has_client_events
        )
        withdrawals = Withdrawals(ReservedKeys(given.redis))
        self._messages = Outbox("door-messages", self._writer.write, withdrawals.withdraw)
        self._refusals = Outbox("door-refusals", self._refusal_writer.write)
        self._passwords = PasswordVerifier()
        self._redis_policy = Probe(
            "redis policy", partial(policy_fault, policy_client(given.redis))
        )
        self._redis_policy.start()
        self._add_checks(given)
        given.running.counters.watch(CERTIFICATE, certificates.expires_at_s)
        self._context = self.make_context(given, connections)

    @property
    def context(self) -> ServerContext:
        """Return the values that the connections share."""
        return self._context.server

    def new_policy(self, conversation: Conversation) -> Policy:
        """Return the policy of a new connection."""
        return SessionPolicy(self._context, conversation)

    def refresh(self) -> None:
        """Reload the certificate if it has changed."""
        self._certificates.refresh()

    async def settle(self) -> None:
        """Wait until every pending message is answered."""
        await asyncio.gather(self._messages.close(), self._refusals.close())

    async def close(self) -> None:
        """Close the producers and the other threads."""
        self._writer.close()
        self._refusal_writer.close()
        self._passwords.close()
        await asyncio.to_thread(self._redis_policy.close)

    def make_context(self, given: Dependencies, connections: Connections) -> FrontDoorContext:
        """Build the values that the connections share."""
        settings, counters = given.settings, given.running.counters
        server = ServerContext(
            options=server_options(settings),
            limits=time_limits(settings),
            tls=lambda: self._certificates.context,
            turned_away=counters.counter(TURNED_AWAY),
            connections=connections,
        )
        return FrontDoorContext(
            server=server,
            limits=client_limits(settings),
            client_of=given.client_of,
            removed_client_of=given.removed_client_of,
            passwords=self._passwords,
            failures=FailedLogins(
                settings.smtp_max_failed_logins,
                settings.smtp_max_failed_logins_per_address,
                60.0,
            ),
            rate=Rate(),
            held=HeldBytes(settings.smtp_max_held_bytes),
            messages=self._messages,
            refusals=self._refusals,
            scan=partial(scan, code_header=settings.code_header.lower().encode()),
            new_mail_id=MailIds().make,
            clock=given.running.clock,
            metrics=register_metrics(counters),
            failpoints=given.kit.failpoints,
        )

    def _add_checks(self, given: Dependencies) -> None:
        health, sender = given.running.health, self._sender
        fault = cleared_by(given.brokers, lambda: (sender.fault, sender.failed_at_s))
        health.add_ready("front_door", fault)
        health.add_ready("redis_policy", self._redis_policy.fault)


NewService = Callable[[Dependencies, Certificates, Connections], FrontDoorService]


def front_door(given: Dependencies, new_service: NewService = FrontDoorService) -> SmtpServer:
    """Build the front door. Raises UsageError if the certificate is not valid."""
    certificates = load_certificates(given.settings)
    service = partial(new_service, given, certificates)
    return SmtpServer(server_plan(given.settings), given.running, service)
