"""Makes the record for the topic mail.returned when a message has bounced or expired. Pure.

The record is written in the same transaction as the final event, so each final event has exactly
one record, even if the process dies. The validate service forwards the record to the clients that
want to receive their bounces. The deliver service does not know which clients want their bounces,
so a change in clients.yaml also applies to mail that was accepted before the change.

The record contains the header of the message, up to MAX_HEADER_BYTES. No record is written for mail
to a forwarding address, because nobody needs a report about a report.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from services.deliver.core.attempt.plan import Plan, PlannedEvent
from shared.topics import ids
from shared.topics.records import Envelope, EventType, ReturnAddressKind, Returned

MAX_HEADER_BYTES: Final = 32_768
_GIVEN_UP: Final = frozenset({EventType.BOUNCED, EventType.EXPIRED})


class GivenUp(Struct, frozen=True):
    """The record and the header of a message that bounced or expired."""

    returned: Returned
    header: bytes


def given_up(steps: Plan, envelope: Envelope, content: bytes) -> Iterable[GivenUp]:
    """Yield one record for each event that reports the final failure of this message."""
    if envelope.forwards:
        return
    for event in steps.events:
        if event.kind in _GIVEN_UP:
            yield GivenUp(_returned(envelope, event), header_of(content))


def header_of(content: bytes) -> bytes:
    """Return the header of a message. A header that is too long is cut at the end of a line."""
    head = content[: MAX_HEADER_BYTES + 4]
    end = head.find(b"\r\n\r\n")
    if end >= 0:
        return head[: end + 2]
    if len(content) <= MAX_HEADER_BYTES:
        return content
    return head[: head.rfind(b"\n", 0, MAX_HEADER_BYTES) + 1] or head[:MAX_HEADER_BYTES]


def _returned(envelope: Envelope, event: PlannedEvent) -> Returned:
    data = event.data
    kind = data.bounce_class if event.kind is EventType.BOUNCED else event.kind.value
    return Returned(
        return_id=ids.derive(f"returned/{envelope.mail_id}", 0, 0, data.at_ms),
        client=envelope.client,
        recipient=envelope.recipient,
        sender=envelope.sender,
        received_at_ms=data.at_ms,
        address_kind=ReturnAddressKind.UNDELIVERED,
        mailing_id=envelope.mailing_id,
        sub_client=envelope.sub_client,
        mail_id=envelope.mail_id,
        reason=data.reason,
        status=data.enhanced,
        kind=kind,
        reply=data.reply,
        site=data.site,
        submitted_at_ms=envelope.received_at_ms,
    )
