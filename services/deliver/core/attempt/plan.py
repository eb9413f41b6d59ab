"""Maps an outcome to the records to write: events, and the message on a retry topic. Pure.

A message that is read before its earliest time moves to its next delay topic, without an attempt
or an event. A message is billed by the event that carries `first_dispatch`: the event of the first
attempt in which a destination server answered its MAIL or RCPT command.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.attempt.outcome import Bounced, Deferred, Delivered, Outcome
from services.deliver.core.attempt.retry import RetryTimes, next_attempt
from shared.topics.delay_topics import hop_envelope, next_hop
from shared.topics.records import Attempts, Envelope, EventType, MailEvent


class PlannedEvent(Struct, frozen=True):
    """One event to publish."""

    kind: EventType
    data: MailEvent


class Plan(Struct, frozen=True):
    """The result of an attempt. `retry` and the delay `step` are set if the message continues."""

    events: tuple[PlannedEvent, ...]
    retry: Envelope | None = None
    step: str = ""


class Timing(Struct, frozen=True):
    """The current time of a plan, and the retry times."""

    now_ms: int
    retries: RetryTimes = RetryTimes()


def wait(envelope: Envelope, timing: Timing) -> Plan:
    """The next hop of a message that is read before its earliest time: no attempt, no event."""
    hop = next_hop(envelope.not_before_ms, timing.now_ms, timing.retries.scale)
    return Plan((), hop_envelope(envelope, hop), hop.step)


def has_expired(envelope: Envelope, now_ms: int) -> bool:
    """Whether the message expired before another attempt."""
    return 0 < envelope.expires_at_ms <= now_ms


def expire(envelope: Envelope, now_ms: int) -> Plan:
    """The plan for a message that expired before another attempt."""
    attempts = envelope.attempts
    data = _base(envelope, attempts.count, now_ms, attempts.first_dispatched_at_ms)
    data = replace(
        data,
        reply=attempts.last_reply,
        enhanced=attempts.last_enhanced,
        reason="The message expired before it could be delivered",
    )
    return Plan((PlannedEvent(EventType.EXPIRED, data),))


def plan(envelope: Envelope, outcome: Outcome, timing: Timing) -> Plan:
    """The plan that follows from the outcome of one attempt."""
    attempt = envelope.attempts.count + 1
    before = envelope.attempts.first_dispatched_at_ms
    dispatched = isinstance(outcome, Delivered) or outcome.dispatched
    first = dispatched and not before
    dispatched_at = timing.now_ms if first else before
    data = replace(
        _base(envelope, attempt, timing.now_ms, dispatched_at),
        first_dispatch=first,
        reply=outcome.reply,
        enhanced=outcome.enhanced,
        site=outcome.site,
        source=outcome.source,
        tls=outcome.tls,
    )
    match outcome:
        case Delivered():
            return Plan((PlannedEvent(EventType.DELIVERED, data),))
        case Bounced(bounce_class=bounce_class, reason=reason):
            data = replace(data, bounce_class=bounce_class, reason=reason)
            return Plan((PlannedEvent(EventType.BOUNCED, data),))
        case Deferred():
            return _defer(envelope, outcome, data, timing)


def _defer(envelope: Envelope, outcome: Deferred, data: MailEvent, timing: Timing) -> Plan:
    retry = next_attempt(
        envelope.mail_id, data.attempt, timing.now_ms, timing.retries, in_doubt=outcome.in_doubt
    )
    data = replace(data, bounce_class=outcome.bounce_class, reason=outcome.reason)
    doubts: tuple[PlannedEvent, ...] = ()
    if outcome.in_doubt:
        doubt = replace(data, first_dispatch=False)
        doubts = (PlannedEvent(EventType.IN_DOUBT, doubt),)
    if 0 < envelope.expires_at_ms <= retry.due_at_ms:
        reason = f"The message expires before the next attempt; the last answer: {outcome.reason}"
        return Plan((*doubts, PlannedEvent(EventType.EXPIRED, replace(data, reason=reason))))
    data = replace(data, next_attempt_at_ms=retry.due_at_ms)
    onward = replace(
        envelope,
        due_at_ms=retry.due_at_ms,
        attempts=Attempts(
            count=data.attempt,
            first_dispatched_at_ms=data.first_dispatched_at_ms,
            last_reply=outcome.reply,
            last_enhanced=outcome.enhanced,
        ),
    )
    return Plan((*doubts, PlannedEvent(EventType.DEFERRED, data)), onward, retry.step)


def _base(envelope: Envelope, attempt: int, now_ms: int, first_dispatched_at_ms: int) -> MailEvent:
    return MailEvent(
        client=envelope.client,
        mailing_id=envelope.mailing_id,
        sub_client=envelope.sub_client,
        recipient=envelope.recipient,
        message_id=envelope.message_id,
        at_ms=now_ms,
        received_at_ms=envelope.received_at_ms,
        attempt=attempt,
        first_dispatched_at_ms=first_dispatched_at_ms,
        lane=envelope.lane,
        size_bytes=envelope.facts.size_bytes,
    )
