"""Tells refusals at the final dot: events with their tally, in one transaction a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable

from services.ingest.edge.outbox import SERVICE, Handed, Outbox, Written
from shared.stream import outputs
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.topics.records import EventType, MailEvent

log = logging.getLogger(__name__)


class RefusalWriter:
    """Tells refusals at the dot as events, with their tally, in one transaction a batch."""

    def __init__(
        self, producer: TransactionalProducer, has_own_events: Callable[[str], bool]
    ) -> None:
        self._producer = producer
        self._has_own_events = has_own_events

    def write(
        self, batch: list[Handed[tuple[str, MailEvent]]], outbox: Outbox[tuple[str, MailEvent]]
    ) -> None:
        """Write a batch; the answer comes with the commit."""
        written: list[Output] = []
        received: dict[tuple[str, str, str], int] = {}
        for mail_id, event in (handed.item for handed in batch):
            has_own_events = self._has_own_events(event.client)
            written += outputs.told(
                SERVICE, EventType.REFUSED, mail_id, event, has_own_events=has_own_events
            )
            key = (event.client, event.mailing_id, event.sub_client)
            received[key] = received.get(key, 0) + 1
        first_id, first = batch[0].item
        written.append(outputs.tally(SERVICE, f"{SERVICE}.{first_id}", first.at_ms, received))
        try:
            self._producer.commit(written)
        except TransactionLost as error:
            log.warning("refusals not told", extra={"reason": str(error)})
            outbox.give_up(batch)
        else:
            outbox.settle(batch, [Written()] * len(batch))

    def close(self) -> None:
        """End the producer."""
        self._producer.close()
