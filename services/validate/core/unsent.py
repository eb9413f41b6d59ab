"""The record on mail.returned of a message that was refused or suppressed, for a client that wants
it back. Pure.
"""

from __future__ import annotations

from typing import Final

from shared.registry.client import Client, Returns
from shared.topics import ids
from shared.topics.records import EventType, MailEvent, Message, ReturnAddressKind, Returned

_KINDS: Final = {
    EventType.REFUSED: (Returns.REFUSED, ReturnAddressKind.REFUSED),
    EventType.SUPPRESSED: (Returns.SUPPRESSED, ReturnAddressKind.SUPPRESSED),
}


def returned_of(
    kind: EventType, message: Message, event: MailEvent, client: Client | None
) -> Returned | None:
    """Return what is known about a message that ended with this event; None if unwanted."""
    wanted = _KINDS.get(kind)
    if client is None or wanted is None or wanted[0] not in client.returns:
        return None
    mail_id = message.envelope.mail_id
    return Returned(
        return_id=ids.derive(f"returned/{mail_id}", 0, 0, event.at_ms),
        client=client.name,
        recipient=event.recipient,
        sender=message.envelope.sender,
        received_at_ms=event.at_ms,
        address_kind=wanted[1],
        mailing_id=event.mailing_id,
        sub_client=event.sub_client,
        mail_id=mail_id,
        reason=event.reason,
        status=event.enhanced,
    )
