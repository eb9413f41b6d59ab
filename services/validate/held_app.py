"""The composition root of the thread that releases held mail.

Every process of the validate service releases held mail in a thread (edge/held/sweeper.py). This
thread writes the same topics as the rest of the validate service.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from msgspec import Struct, structs

from services.validate.core.quotas import QuotaUse
from services.validate.core.verdict import Policy
from services.validate.edge.batch_processor import BatchProcessor, Metrics, Views
from services.validate.edge.held.sweeper import HeldSweeper, SweeperParts
from services.validate.settings import Settings
from shared.quotas.view import QuotaView
from shared.registry.store.view import ClientView
from shared.runtime.service_cli import Running
from shared.runtime.threads import in_side_thread
from shared.stream.kit import StreamKit
from shared.stream.relay import Process, Relay
from shared.topics import names

SERVICE: Final = "held"


class HeldParts(Struct, frozen=True):
    """The objects that this thread shares with the part of the service that reads mail.received."""

    clients: ClientView
    views: Views
    quotas: QuotaView
    use: QuotaUse
    policy: Policy
    metrics: Metrics


def held_mail_in_thread(
    settings: Settings, running: Running, parts: HeldParts
) -> AbstractContextManager[None]:
    """Run the sweeper of held mail in a thread while the block runs."""
    named = structs.replace(running, service=SERVICE)
    kit = StreamKit(settings.kafka, settings.runtime, named)

    def relay(limited: Callable[[Process], Process]) -> Relay:
        producer = kit.producer(SERVICE)
        processor = BatchProcessor(
            # No keys are claimed, because the keys of these submissions were claimed when the
            # messages were held.
            structs.replace(parts.views, keys=None),
            parts.policy,
            producer.partitions_for,
            clock=running.clock,
            metrics=parts.metrics,
            is_release=True,
        )
        return Relay(
            SERVICE,
            kit.consumer(topics=(names.HELD,)),
            producer,
            limited(processor.process),
            kit.failpoints,
            max_records=settings.validate.max_records,
        )

    sweeper = HeldSweeper(
        SweeperParts(
            options=kit.options,
            group=f"sluice.{SERVICE}",
            clients=lambda: parts.clients.clients().values(),
            is_ready=lambda: parts.clients.ready() and parts.quotas.ready(),
            use=parts.use,
            clock=running.clock,
            relay=relay,
        )
    )
    return in_side_thread("held", "reading held mail", sweeper.run, running.stop)
