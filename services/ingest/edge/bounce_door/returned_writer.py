"""Writes returned mail to mail.returned: one record per recipient, acks=all."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from services.ingest.edge.writing.outbox import BatchResult, PendingWrite, Written
from services.ingest.edge.writing.record_sender import RecordSender, Send, SenderFailpoints
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import encode_returned
from shared.topics.records import Returned

FAILPOINTS: Final = SenderFailpoints("ingest.bounce_sent", "ingest.bounce_acknowledged")


class ReturnedMail(Struct, frozen=True):
    """A message that came back to one recipient."""

    returned: Returned
    content: bytes


class ReturnedWriter:
    """Writes returned mail. Used by one thread."""

    def __init__(self, sender: RecordSender) -> None:
        self._sender = sender

    def write(self, batch: list[PendingWrite[ReturnedMail]]) -> list[BatchResult[ReturnedMail]]:
        """Send a batch. The outcomes are set after Kafka has answered."""
        sends = [
            Send(_record(pending.item), BatchResult([pending]), [Written(return_id)])
            for pending in batch
            if pending.try_begin(return_id := pending.item.returned.return_id)
        ]
        self._sender.send(sends)
        return [send.result for send in sends]


def _record(mail: ReturnedMail) -> Output:
    key, headers = encode_returned(mail.returned)
    return Output(names.RETURNED, mail.content, key, headers)
