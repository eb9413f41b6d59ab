"""Judges a message by the rules of its client, and builds the events for messages that are not
sent. This module does no I/O.

This module passes the data of the client and of the envelope to the rules. The module also decides
to which mailing a message is attributed, and builds the events for refused messages, duplicates,
key conflicts and withdrawn submissions. The rules are in rules.py, duplicates are found by
shared/store/submissions.py, suppression is in services/validate, and the texts of replies are in
the ingest service.

The front door and the validate service judge a message in the same way. They always attribute a
message to the same mailing, no matter if the message is refused after DATA, refused by the validate
service, or accepted. So the counts of a mailing are complete for every kind of submission.
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
    """Return the envelope with the mailing ID and sub-client of its code. If the code is missing or
    not valid, the envelope gets the mailing ID of the client's standard mailing and no sub-client.

    The returned envelope also has the versions of the rules and of the client's entry by which the
    message is judged.
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
    """Return the versions for a final event of this message. Return None if the message was not
    judged."""
    if not envelope.rules_version:
        return None
    return Versions(envelope.rules_version, envelope.registry_version, shaping)


def refused_event(envelope: Envelope, broken: tuple[Violation, ...], now_ms: int) -> MailEvent:
    """Build the event for an attributed message that violates rules. `broken` must not be empty."""
    reason = "; ".join(f"{rule.rule}: {rule.reason}" for rule in broken)
    return unsent_event(envelope, reason, now_ms, broken)


def unsent_event(
    envelope: Envelope, reason: str, now_ms: int, broken: tuple[Violation, ...] = ()
) -> MailEvent:
    """Build the event for an attributed message that is not processed further."""
    return MailEvent(
        client=envelope.client,
        mailing_id=envelope.mailing_id,
        sub_client=envelope.sub_client,
        # Use the recipient in the header. With SMTP, the envelope may have another recipient, which
        # R3 refuses.
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
    """Build the event for a duplicate. `event` describes the submission."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason=f"Submitted before as {first_mail_id}: nothing more is sent",
        first_mail_id=first_mail_id,
    )


def withdrawn_event(event: MailEvent) -> MailEvent:
    """Build the event for an SMTP submission that was answered with 451. `event` describes the
    submission."""
    return replace(
        event,
        enhanced="",
        rules=(),
        reason="Submitted by SMTP and answered with 451, not stored in time: it is not sent",
    )


def reused_event(event: MailEvent, envelope: Envelope, first_mail_id: str) -> MailEvent:
    """Build the event for a message that is refused because an earlier, different message has the
    same submission key.

    `event` describes the submission, and `envelope` contains its key.
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
