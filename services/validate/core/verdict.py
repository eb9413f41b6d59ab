"""Judges one message: refused by rules, suppressed, or passed to a lane. Pure."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.lanes import Lanes, domain_of
from services.validate.core.suppression import blocked_by
from shared.mail.rules import Submission, effective_code
from shared.mail.rules import judge as judge_rules
from shared.registry.client import Client
from shared.topics.records import BrokenRule, Envelope, Facts, MailEvent

UNREGISTERED = "unregistered"


class Refused(Struct, frozen=True):
    """The message breaks rules and goes no further."""

    event: MailEvent


class Suppressed(Struct, frozen=True):
    """The recipient gets no mail of this client."""

    event: MailEvent


class Passed(Struct, frozen=True):
    """The message goes on, with its mailing, lane and expiry set."""

    envelope: Envelope


Verdict = Refused | Suppressed | Passed


class Policy(Struct, frozen=True):
    """What the installation sets: the size limit of R1 and the lanes."""

    max_size_bytes: int
    lanes: Lanes


def judge(envelope: Envelope, client: Client | None, policy: Policy, now_ms: int) -> Verdict:
    """The verdict on one message of `client` (None: no longer registered)."""
    if client is None:
        broken = BrokenRule(
            UNREGISTERED, f"No client named {envelope.client} is registered", "5.7.1"
        )
        return Refused(_event(envelope, now_ms, (broken,)))
    envelope = attribute(envelope, client)
    broken_rules = judge_rules(
        envelope.facts,
        Submission(
            sending_domain=client.sending_domain,
            sender=envelope.sender,
            recipient=envelope.recipient,
            codes=client.active_codes,
            max_size_bytes=policy.max_size_bytes,
            code=envelope.code,
        ),
    )
    if broken_rules:
        return Refused(_event(envelope, now_ms, broken_rules))
    pattern = blocked_by(envelope.recipient, client.block_list)
    if pattern:
        reason = f"The recipient is on the block list of {client.name}: {pattern}"
        return Suppressed(_event(envelope, now_ms, reason=reason))
    lane = client.lane or policy.lanes.lane_of(domain_of(envelope.recipient))
    starts_ms = max(envelope.received_at_ms, envelope.not_before_ms)
    expires = envelope.expires_at_ms or starts_ms + int(client.max_age_s * 1000)
    # deliver reads nothing of the scan but the size; the rest would only be carried about.
    facts = Facts(size_bytes=envelope.facts.size_bytes)
    return Passed(replace(envelope, lane=lane, expires_at_ms=expires, facts=facts))


def attribute(envelope: Envelope, client: Client) -> Envelope:
    """Set the mailing ID and sub-client: those of the code, else the client's standard one."""
    code = client.codes.get(effective_code(envelope.facts, envelope.code))
    if code is not None and code.active:
        return replace(envelope, mailing_id=code.mailing_id, sub_client=code.sub_client)
    return replace(envelope, mailing_id=client.mailing_id)


def _event(
    envelope: Envelope, now_ms: int, broken: tuple[BrokenRule, ...] = (), reason: str = ""
) -> MailEvent:
    return MailEvent(
        client=envelope.client,
        mailing_id=envelope.mailing_id,
        sub_client=envelope.sub_client,
        recipient=envelope.recipient,
        message_id=envelope.message_id,
        at_ms=now_ms,
        received_at_ms=envelope.received_at_ms,
        enhanced=broken[0].status if broken else "",
        reason=reason or "; ".join(f"{rule.rule}: {rule.reason}" for rule in broken),
        rules=broken,
        size_bytes=envelope.facts.size_bytes,
        origin=envelope.origin,
    )
