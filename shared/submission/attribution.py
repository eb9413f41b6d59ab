"""Judges a message for its client, and builds the events for messages that are not sent. Pure.

Owns: the data of client and envelope that the rules need, the mailing to which a message is
attributed, and the events for refused messages, duplicates, key conflicts and withdrawn
submissions. Does not own: the rules (rules.py), which submission is a duplicate
(shared/store/submissions.py), suppression (services/validate), the text of a reply (ingest).
Guarantees: the front door and validate judge a message in the same way. They attribute a message to
the same mailing, whether the message is refused after DATA, refused by validate, or accepted. So
the counts of a mailing are complete for every kind of submission.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from shared.mail.likely_mistakes import visible
from shared.registry.client import Client
from shared.submission.rules import RULES_VERSION, Status, Submission, effective_code, judge
from shared.topics.intake_fields import CODE
from shared.topics.records import Envelope, MailEvent, Versions, Violation

KEY_REUSED: Final = "key_reused"


def broken_rules(envelope: Envelope, client: Client, max_size_bytes: int) -> tuple[Violation, ...]:
    """Return the violations of a client's message, in the order of the rules."""
    return judge(
        envelope.facts,
        Submission(
            sending_domain=client.sending_domain,
            sender=envelope.sender,
            recipient=envelope.recipient,
            codes=client.active_codes,
            max_size_bytes=max_size_bytes,
            code=envelope.code,
        ),
    )


def attribute(envelope: Envelope, client: Client) -> Envelope:
    """Set the mailing ID and sub-client by the code, or else by the client's standard mailing.

    Also set the versions of the rules and of the client's entry by which the message is judged.
    """
    billed = client.code(effective_code(envelope.facts, envelope.code))
    return replace(
        envelope,
        mailing_id=billed.mailing_id,
        sub_client=billed.sub_client,
        rules_version=RULES_VERSION,
        registry_version=client.version,
    )


def versions_of(envelope: Envelope, shaping: str = "") -> Versions | None:
    """Return the versions for a final event of this message; None if the message was not judged."""
    if not envelope.rules_version:
        return None
    return Versions(envelope.rules_version, envelope.registry_version, shaping)


def refused_event(envelope: Envelope, broken: tuple[Violation, ...], now_ms: int) -> MailEvent:
    """Build the event for an attributed message that violates rules; `broken` is not empty."""
    reason = "; ".join(f"{rule.rule}: {rule.reason}" for rule in broken)
    return unsent_event(envelope, reason, now_ms, broken)


def unsent_event(
    envelope: Envelope, reason: str, now_ms: int, broken: tuple[Violation, ...] = ()
) -> MailEvent:
    """Build the event for an attributed message that is not processed further, with the reason."""
    return MailEvent(
        client=envelope.client,
        mailing_id=envelope.mailing_id,
        sub_client=envelope.sub_client,
        # This is the recipient in the header. With SMTP, the envelope may contain another
        # recipient, which R3 refuses.
        recipient=envelope.facts.to_address or envelope.recipient,
        message_id=envelope.message_id,
        at_ms=now_ms,
        received_at_ms=envelope.received_at_ms,
        enhanced=broken[0].status if broken else "",
        reason=reason,
        rules=broken,
        size_bytes=envelope.facts.size_bytes,
        origin=envelope.origin,
        submission_id=envelope.submission_key,
        submission_source=envelope.submission_source,
        code=effective_code(envelope.facts, envelope.code)[: CODE.max_octets],
        metadata=envelope.metadata,
        versions=versions_of(envelope),
    )


def duplicate_event(event: MailEvent, first_mail_id: str) -> MailEvent:
    """Build the event for a duplicate; `event` describes the submission."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason=f"Submitted before as {first_mail_id}: nothing more is sent",
        first_mail_id=first_mail_id,
    )


def withdrawn_event(event: MailEvent) -> MailEvent:
    """Build the event for an SMTP submission that was answered with 451. `event` describes it."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason="Submitted by SMTP and answered with 451, not stored in time: it is not sent",
    )


def reused_event(event: MailEvent, envelope: Envelope, first_mail_id: str) -> MailEvent:
    """Build the event that refuses a message because an earlier, different message has its key.

    `event` describes the submission; `envelope` contains its key.
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
