"""Judges a message for its client, in the same way in the front door and in validate. Pure.

Owns: which data of client and envelope the rules get, to which mailing a message is attributed,
and the event of a message that ends before it is sent. Does not own: the rules
(shared/submission/rules.py), suppression (services/validate), the text of a reply (ingest).
Guarantees: a message is attributed to the same mailing whether it is refused after DATA, refused by
validate or passed on, so the counts of a mailing add up, however its messages were submitted.
"""

from __future__ import annotations

from msgspec.structs import replace

from shared.registry.client import Client
from shared.submission.rules import RULES_VERSION, Submission, effective_code, judge
from shared.topics.intake_fields import CODE
from shared.topics.records import Envelope, MailEvent, Versions, Violation


def broken_rules(envelope: Envelope, client: Client, max_size_bytes: int) -> tuple[Violation, ...]:
    """Return the violations of this message for this client, in the order of the rules."""
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
    """Set the mailing ID and sub-client of the code, or else the client's standard ones.

    The envelope gets the versions of the rules and of the client's entry by which it is judged.
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
    """Return the versions for a final event of this message; None if it was not judged."""
    if not envelope.rules_version:
        return None
    return Versions(envelope.rules_version, envelope.registry_version, shaping)


def refused_event(envelope: Envelope, broken: tuple[Violation, ...], now_ms: int) -> MailEvent:
    """Build the event of an attributed message that breaks rules; `broken` is not empty."""
    reason = "; ".join(f"{rule.rule}: {rule.reason}" for rule in broken)
    return unsent_event(envelope, reason, now_ms, broken)


def unsent_event(
    envelope: Envelope, reason: str, now_ms: int, broken: tuple[Violation, ...] = ()
) -> MailEvent:
    """Build the event of an attributed message that is not processed further, with the reason."""
    return MailEvent(
        client=envelope.client,
        mailing_id=envelope.mailing_id,
        sub_client=envelope.sub_client,
        # The recipient in the header; with SMTP the envelope may differ, which R3 refuses.
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
