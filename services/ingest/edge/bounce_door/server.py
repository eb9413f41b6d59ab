"""Builds the bounce door, an SmtpServer that accepts returned mail. It is the MX of the sending
domains.

This module builds the bounce door, writes to mail.returned (one record per recipient, with
acks=all), and reloads the keys of return paths. Listening and closing are in smtp_server/server.py,
and the answers are in bounce_policy.py.

The reply 250 after DATA is sent only after Kafka has acknowledged the records. While Kafka is
unavailable, the reply is 451, and it is sent within outbox.TIMEOUT_S. Redis is not used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from msgspec import Struct

from services.ingest.core.bounce_door.held_bytes import HeldBytes
from services.ingest.core.bounce_door.recipients import Known
from services.ingest.core.smtp_server.rates import Rate
from services.ingest.edge.bounce_door.bounce_policy import BouncePolicy
from services.ingest.edge.bounce_door.context import (
    CERTIFICATE,
    TURNED_AWAY,
    BounceDoorContext,
    ReturnedMail,
    load_certificates,
    message_limits,
    register_metrics,
    server_options,
    server_plan,
    time_limits,
)
from services.ingest.edge.smtp_server.context import (
    Connections,
    Conversation,
    Policy,
    ServerContext,
)
from services.ingest.edge.smtp_server.server import SmtpServer
from services.ingest.edge.writing.mail_ids import MailIds
from services.ingest.edge.writing.outbox import BatchResult, Outbox, PendingWrite, Written
from services.ingest.edge.writing.record_sender import RecordSender, Send, SenderFailpoints
from services.ingest.settings import IngestSettings
from shared.mail.verp import day_of
from shared.registry.client import Client
from shared.runtime.checks import Probe
from shared.runtime.reloaded_files import Certificates
from shared.runtime.service_cli import Running
from shared.settings.secret_files import KeysFile, load_return_keys
from shared.settings.sections import ReturnPathSettings
from shared.stream.kit import StreamKit
from shared.stream.reachability import cleared_by
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import encode_returned

log = logging.getLogger(__name__)

FAILPOINTS: Final = SenderFailpoints("ingest.bounce_sent", "ingest.bounce_acknowledged")


class Registry(Protocol):
    """The registered clients."""

    def get(self, name: str) -> Client | None:
        """Return the client with this name."""
        ...

    def by_domain(self, domain: str) -> Client | None:
        """Return the client with this sending domain. The domain must be in lower-case A-labels."""
        ...


class Dependencies(Struct, frozen=True):
    """The collaborators of the bounce door. `brokers` checks the brokers of the topics to which the
    door writes."""

    settings: IngestSettings
    return_path: ReturnPathSettings
    kit: StreamKit
    running: Running
    registry: Registry
    brokers: Probe


class Files(Struct, frozen=True):
    """The files that are reloaded when they change. A field is None if the settings do not specify
    the file."""

    certificates: Certificates | None
    keys: KeysFile | None


class ReturnedWriter:
    """Writes returned mail to Kafka. Used by one thread."""

    def __init__(self, sender: RecordSender) -> None:
        self._sender = sender

    def write(self, batch: list[PendingWrite[ReturnedMail]]) -> list[BatchResult[ReturnedMail]]:
        """Send the records of a batch. Their outcomes are set after Kafka has answered."""
        sends = [
            Send(_record(pending.item), BatchResult([pending]), [Written(return_id)])
            for pending in batch
            if pending.try_begin(return_id := pending.item.returned.return_id)
        ]
        self._sender.send(sends)
        return [send.result for send in sends]


class BounceDoorService:
    """Provides the policies and writers of the bounce door. Implements
    smtp_server.server.Service."""

    def __init__(self, given: Dependencies, files: Files, connections: Connections) -> None:
        kit = given.kit
        self._files = files
        self._sender = RecordSender("bounce door", kit.options, kit.failpoints, FAILPOINTS)
        self._messages = Outbox("returned-mail", ReturnedWriter(self._sender).write)
        sender = self._sender
        fault = cleared_by(given.brokers, lambda: (sender.fault, sender.failed_at_s))
        given.running.health.add_ready("bounce_door", fault)
        if files.certificates is not None:
            given.running.counters.watch(CERTIFICATE, files.certificates.expires_at_s)
        self._context = self._compose(given, connections)

    @property
    def context(self) -> ServerContext:
        """Return the values that the connections share."""
        return self._context.server

    def new_policy(self, conversation: Conversation) -> Policy:
        """Return the policy of a new connection."""
        return BouncePolicy(self._context, conversation)

    def refresh(self) -> None:
        """Reload the certificate and the keys if they have changed."""
        if self._files.certificates is not None:
            self._files.certificates.refresh()
        if self._files.keys is not None:
            self._files.keys.refresh()

    async def settle(self) -> None:
        """Wait until every pending message is answered."""
        await self._messages.close()

    async def close(self) -> None:
        """Close the producer."""
        self._sender.close()

    def _compose(self, given: Dependencies, connections: Connections) -> BounceDoorContext:
        settings, counters = given.settings, given.running.counters
        certificates = self._files.certificates
        server = ServerContext(
            options=server_options(settings, has_tls=certificates is not None),
            limits=time_limits(settings),
            tls=lambda: certificates.context if certificates is not None else None,
            turned_away=counters.counter(TURNED_AWAY),
            connections=connections,
        )
        return BounceDoorContext(
            server=server,
            limits=message_limits(settings),
            known=known_by(given, self._files.keys),
            address_rate=Rate(),
            client_rate=Rate(),
            held=HeldBytes(settings.bounce_max_held_bytes),
            messages=self._messages,
            new_return_id=MailIds().make,
            clock=given.running.clock,
            metrics=register_metrics(counters),
            failpoints=given.kit.failpoints,
        )


def known_by(given: Dependencies, keys: KeysFile | None) -> Callable[[int], Known]:
    """Return a function. For a given time, it returns the data that is needed to judge
    recipients."""
    settings, registry = given.settings, given.registry
    host, postmaster = settings.bounce_host_name.lower(), settings.bounce_postmaster

    def known(now_ms: int) -> Known:
        return Known(
            registry.by_domain,
            keys.keys if keys is not None else None,
            day_of(now_ms),
            given.return_path.days_valid,
            host,
            registry.get(postmaster) if postmaster else None,
        )

    return known


def bounce_door(given: Dependencies) -> SmtpServer:
    """Build the bounce door. Raises UsageError if the certificate or the file of keys is not
    valid."""
    files = Files(load_certificates(given.settings), load_return_keys(given.return_path))
    if files.certificates is None:
        log.warning(
            "the bounce door offers no STARTTLS: ingest.bounce_tls_certificate_file is not set"
        )
    if files.keys is None:
        log.warning(
            "the bounce door refuses mail to return paths: return_path.keys_file is not set"
        )
    return SmtpServer(
        server_plan(given.settings), given.running, partial(BounceDoorService, given, files)
    )


def _record(mail: ReturnedMail) -> Output:
    key, headers = encode_returned(mail.returned)
    return Output(names.RETURNED, mail.content, key, headers)
