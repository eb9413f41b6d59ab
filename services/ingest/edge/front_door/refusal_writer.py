"""Publishes refusals after DATA: one event per message and a tally, in a transaction per batch."""

from __future__ import annotations

import logging
from collections.abc import Callable

from services.ingest.edge.writing.outbox import SERVICE, BatchResult, PendingWrite, Written
from shared.stream import outputs
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.topics.records import EventType, MailEvent

log = logging.getLogger(__name__)

# A mail id and the event of its refusal.
Refused = tuple[str, MailEvent]


class RefusalWriter:
    """Writes events of refusals. Used by one thread."""

    def __init__(
        self, producer: TransactionalProducer, has_client_events: Callable[[str], bool]
    ) -> None:
        self._producer = producer
        self._has_client_events = has_client_events

    def write(self, batch: list[PendingWrite[Refused]]) -> list[BatchResult[Refused]]:
        """Commit the events of a batch."""
        written: list[Output] = []
        received: dict[outputs.Mailing, list[str]] = {}
        for mail_id, event in (pending.item for pending in batch):
            has_client_events = self._has_client_events(event.client)
            written += outputs.event_records(
                SERVICE, EventType.REFUSED, mail_id, event, has_client_events=has_client_events
            )
            key = (event.client, event.mailing_id, event.sub_client)
            received.setdefault(key, []).append(mail_id)
        first_id, first = batch[0].item
        written += outputs.tallies(SERVICE, f"{SERVICE}.{first_id}", first.at_ms, received)
        result = BatchResult(batch)
        try:
            self._producer.commit(written)
        except TransactionLost as error:
            log.warning("events of refusals were not written", extra={"reason": str(error)})
            result.set_unknown()
        else:
            result.outcomes.set_result([Written()] * len(batch))
        return [result]

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()
