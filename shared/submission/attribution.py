"""How a message is judged for its client: one piece for the front door and for validate. Pure.

Owns: what of a client and an envelope the rules are given, which mailing a message is counted
under, and the event of a message that ends before it is sent. Does not own: the rules
(shared/submission/rules.py), who is suppressed (services/validate), the words of a reply (ingest).
Promises: a message is attributed alike whether it is refused at the dot, refused by validate or
passed on, so that the counts of a mailing add up by whatever way its messages came.
"""

from __future__ import annotations

from msgspec.structs import replace

from shared.registry.client import Client
from shared.submission.rules import Submission, effective_code, judge
from shared.topics.records import Envelope, MailEvent, Violation


def broken_rules(envelope: Envelope, client: Client, max_size_bytes: int) -> tuple[Violation, ...]:
    """Every rule that the message of this envelope breaks for this client, in their order."""
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
    """Set the mailing ID and sub-client: those of the code, else the client's standard ones."""
    billed = client.code(effective_code(envelope.facts, envelope.code))
    return replace(envelope, mailing_id=billed.mailing_id, sub_client=billed.sub_client)


def refused_event(envelope: Envelope, broken: tuple[Violation, ...], now_ms: int) -> MailEvent:
    """The event of a message, already attributed, that breaks rules; `broken` is not empty."""
    reason = "; ".join(f"{rule.rule}: {rule.reason}" for rule in broken)
    return unsent_event(envelope, reason, now_ms, broken)


def unsent_event(
    envelope: Envelope, reason: str, now_ms: int, broken: tuple[Violation, ...] = ()
) -> MailEvent:
    """The event of a message, already attributed, that goes no further and why."""
    return MailEvent(
        client=envelope.client,
        mailing_id=envelope.mailing_id,
        sub_client=envelope.sub_client,
        # Whom the message names; by SMTP its envelope may name another one, which R3 refuses.
        recipient=envelope.facts.to_address or envelope.recipient,
        message_id=envelope.message_id,
        at_ms=now_ms,
        received_at_ms=envelope.received_at_ms,
        enhanced=broken[0].status if broken else "",
        reason=reason,
        rules=broken,
        size_bytes=envelope.facts.size_bytes,
        origin=envelope.origin,
    )
