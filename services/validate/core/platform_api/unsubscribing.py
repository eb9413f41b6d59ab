"""What unsubscribing by a link writes: the event, and the entry that follows from it. Pure.

Mail to the return path that asks for no more mail becomes the same event, from which the counting
of bounces makes the same entry (core/responses). Here the entry is written beside the event, so
that it is in force also while nothing counts; the counting then writes it once more, which changes
nothing. A repetition has the same event id and the same key of the entry.
"""

from __future__ import annotations

from typing import Final

from shared.mail.address import comparable
from shared.mail.unsubscribe import Unsubscription
from shared.registry.client import Client
from shared.responses.understood import ResponseKind
from shared.topics.records import MailEvent
from shared.topics.suppressions import Suppression, SuppressionReason

RULE: Final = "unsubscribe/one-click"
# Tells the event from one by mail about the same message, which has the id of the mail.
RETURN_ID: Final = "one-click"


def event_of(wish: Unsubscription, client: Client, now_ms: int) -> MailEvent:
    """Return the event `unsubscribed` of the message that had the link."""
    mailing = client.mailings.get(wish.mailing)
    return MailEvent(
        client=client.name,
        mailing_id=mailing.mailing_id if mailing else "",
        sub_client=mailing.sub_client if mailing else "",
        recipient=wish.recipient,
        at_ms=now_ms,
        response=ResponseKind.UNSUBSCRIBE.value,
        response_rule=RULE,
        return_id=RETURN_ID,
    )


def entry_of(wish: Unsubscription, now_ms: int) -> Suppression | None:
    """Return the entry; None for an address that cannot be compared, which gets no mail anyway."""
    recipient = comparable(wish.recipient)
    if not recipient:
        return None
    return Suppression(
        client=wish.client,
        reason=SuppressionReason.UNSUBSCRIBED,
        recipient=recipient,
        at_ms=now_ms,
        author="sluice",
        note=RETURN_ID,
        mail_id=wish.mail_id,
    )


def is_one_click(fields: list[tuple[str, str]]) -> bool:
    """Whether the fields of a form are those of RFC 8058, 3.1."""
    return ("List-Unsubscribe", "One-Click") in fields
