"""What is told of a submission whose key came before: a duplicate, or a key used twice; and of one
that was withdrawn.

Owns: the words and the events. Does not own: which of the two it is
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
    """The event of a submission that is the same as one before; `event` tells of the submission."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason=f"Handed in before as {first_mail_id}: nothing more is sent",
        first_mail_id=first_mail_id,
    )


def withdrawn_event(event: MailEvent) -> MailEvent:
    """The event of a submission by SMTP that was answered with 451; `event` tells of it."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason="Handed in by SMTP and answered with 451, not stored in time: nothing is sent of it",
    )


def reused_event(event: MailEvent, envelope: Envelope, first_mail_id: str) -> MailEvent:
    """The refusal of a message whose key another one had before it.

    `event` tells of the submission, `envelope` has its key.
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
        f"Another message with this {name}{of_source} was handed in before as {first_mail_id}:"
        f" give this one a {name} of its own"
    )
    return Violation(KEY_REUSED, reason, Status.BAD_HEADER.value, visible(found))
