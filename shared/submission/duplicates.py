"""The events of duplicates, key conflicts and withdrawn submissions.

Owns: the texts and the events. Does not own: deciding which of them a submission is
(shared/store/submissions.py).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from shared.mail.likely_mistakes import visible
from shared.mail.status import Status
from shared.topics.records import Envelope, MailEvent, Violation

KEY_REUSED: Final = "key_reused"


def duplicate_event(event: MailEvent, first_mail_id: str) -> MailEvent:
    """Build the event of a duplicate; `event` describes the submission."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason=f"Submitted before as {first_mail_id}: nothing more is sent",
        first_mail_id=first_mail_id,
    )


def withdrawn_event(event: MailEvent) -> MailEvent:
    """Build the event of an SMTP submission that was answered with 451; `event` describes it."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason="Submitted by SMTP and answered with 451, not stored in time: it is not sent",
    )


def reused_event(event: MailEvent, envelope: Envelope, first_mail_id: str) -> MailEvent:
    """Build the refusal of a message whose key an earlier, different message has.

    `event` describes the submission, `envelope` has its key.
    """
    broken = _key_reused(envelope, first_mail_id)
    return replace(
        event,
        enhanced=broken.status,
        rules=(broken,),
        reason=f"{broken.rule}: {broken.reason}",
        first_mail_id=first_mail_id,
    )


def _key_reused(envelope: Envelope, first_mail_id: str) -> Violation:
    name, found = "Message-ID", envelope.message_id
    if envelope.submission_key:
        name, found = "ce_id", envelope.submission_key
    of_source = " of this ce_source" if envelope.submission_source else ""
    reason = (
        f"Another message with this {name}{of_source} was submitted before as {first_mail_id}:"
        f" give this one its own {name}"
    )
    return Violation(KEY_REUSED, reason, Status.BAD_HEADER.value, visible(found))
