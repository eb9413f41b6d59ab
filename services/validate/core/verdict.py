"""Judges one message: refused by the rules, suppressed, or passed to a lane. Pure.

This module also builds the event of a suppressed message. The rule in the event is a word that does
not change between versions. The event also contains a sentence for people. Does not own: the rules
(shared/submission), the look-up of suppressed recipients (suppression.py), quotas (quotas.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.lanes import Lanes, domain_of
from shared.registry.block_list import blocked_by
from shared.registry.client import Client
from shared.registry.removal import MailChoice
from shared.submission.attribution import attribute, broken_rules, refused_event, unsent_event
from shared.submission.rules import effective_code
from shared.topics.records import Envelope, Facts, MailEvent, Violation
from shared.topics.suppressions import BLOCKED, SuppressionReason

UNREGISTERED = "unregistered"
REMOVED = "removed"

SENTENCES: Final[dict[str, str]] = {
    BLOCKED: "The recipient is on the block list of {}",
    SuppressionReason.COMPLAINT: "The recipient complained about mail of {}",
    SuppressionReason.UNSUBSCRIBED: "The recipient unsubscribed from mail of {}",
    SuppressionReason.MANUAL: "The recipient was suppressed by hand for {}",
    SuppressionReason.IMPORTED: "The recipient is on a list that was imported for {}",
    SuppressionReason.HARD_BOUNCES: "Mail of {} to the recipient bounced too often (hard bounces)",
    SuppressionReason.SOFT_BOUNCES: (
        "Mail of {} to the recipient bounced too often in a row (soft bounces)"
    ),
}


class Refused(Struct, frozen=True):
    """The message violates rules and is not passed on."""

    event: MailEvent


class Suppressed(Struct, frozen=True):
    """The recipient gets no mail from this client."""

    event: MailEvent


class Cancelled(Struct, frozen=True):
    """The message was withdrawn before the validate service read it; the client got a 451 reply."""

    event: MailEvent


class Passed(Struct, frozen=True):
    """The message is passed on, with its mailing, lane and expiry set."""

    envelope: Envelope


class Held(Struct, frozen=True):
    """The message waits on mail.held, because a monthly quota is used up (core/quotas.py)."""

    envelope: Envelope
    reason: str


Verdict = Refused | Suppressed | Cancelled | Passed | Held


class Policy(Struct, frozen=True):
    """The settings of the installation: the size limit of R1 and the lanes."""

    max_size_bytes: int
    lanes: Lanes


def judge(
    envelope: Envelope,
    client: Client | None,
    policy: Policy,
    now_ms: int,
    parents: Sequence[Client] = (),
) -> Verdict:
    """Judge one message of `client`. `client` is None if the client is not registered.

    Mail of a removed client was accepted before the removal, so the mail is handled as the removal
    specifies. `parents` are the clients whose block lists `client` inherits.
    """
    if client is None:
        broken = Violation(
            UNREGISTERED, f"No client named {envelope.client} is registered", "5.7.1"
        )
        return Refused(refused_event(envelope, (broken,), now_ms))
    envelope = attribute(envelope, client)
    violations = _violations(envelope, client, policy.max_size_bytes)
    if violations:
        return Refused(refused_event(envelope, violations, now_ms))
    for each in (client, *parents):
        pattern = blocked_by(envelope.recipient, each.block_list)
        if pattern:
            event = suppressed_event(envelope, BLOCKED, now_ms, pattern, owner=each.name)
            return Suppressed(event)
    return Passed(_with_choices(envelope, client, policy.lanes))


def suppressed_event(
    envelope: Envelope, word: str, now_ms: int, detail: str = "", *, owner: str = ""
) -> MailEvent:
    """Return the event of a suppressed message; `word` is a SuppressionReason or BLOCKED.

    `owner` is the client whose list has the recipient; it may be a parent of the message's client.
    """
    owner = owner or envelope.client
    sentence = SENTENCES[word].format(owner)
    if owner != envelope.client:
        sentence += f", from which {envelope.client} inherits"
    reason = f"{sentence}: {detail}" if detail else sentence
    rules = (Violation(word, sentence, found=detail),)
    return unsent_event(envelope, reason, now_ms, rules)


def _violations(envelope: Envelope, client: Client, max_size_bytes: int) -> tuple[Violation, ...]:
    if client.removal is not None and client.removal.mail is MailChoice.REFUSE:
        reason = f"The client {client.name} was removed, and its mail is refused"
        return (Violation(REMOVED, reason, "5.7.1"),)
    return broken_rules(envelope, client, max_size_bytes)


def _with_choices(envelope: Envelope, client: Client, lanes: Lanes) -> Envelope:
    """Set the values for the deliver service: the lane, the expiry and the client's options."""
    starts_ms = max(envelope.received_at_ms, envelope.due_at_ms)
    expires = envelope.expires_at_ms or starts_ms + int(client.max_age_s * 1000)
    code = effective_code(envelope.facts, envelope.code)
    return replace(
        envelope,
        code=code,
        lane=lanes.lane_of_client(client.lane, domain_of(envelope.recipient)),
        expires_at_ms=expires,
        # The deliver service uses only the size from the scan results, so only the size is passed
        # on.
        facts=Facts(size_bytes=envelope.facts.size_bytes),
        own_events=client.own_events,
        on_doubt=client.code(code).on_doubt or client.on_doubt,
        pool=client.pool,
    )
