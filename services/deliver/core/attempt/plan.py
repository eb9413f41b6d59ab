"""Maps an outcome to the records to write: the events, and the message for a retry topic. Pure.

A message that is read too early, before `not_before_ms`, moves to its next delay topic. This move
is not an attempt, and no event is published. A message is billed by its event with
`first_dispatch`. This is the event of the first attempt in which a destination server answered the
MAIL or RCPT command.

A message is in doubt in two cases: a process began to offer the message but recorded no outcome, or
a server received the whole content but did not answer. The setting `on_doubt` of the client or of
the message's code decides whether the message is sent again or held. A held message waits on the
delay topics until an operator releases or cancels it, or until it expires. `sluice queue` shows
held messages. In the first hour a held message is written again every minute. After that hour, it
is written again every five minutes. Only one event is published for the hold: `in_doubt` with
`held`. After a crash nobody knows whether a server answered MAIL or RCPT. So the event `in_doubt`
after a crash is not billed; a later attempt is billed.

Mail to a client's forwarding address is not the client's mail, so it is never billed. Only its
final event is published: `forwarded` or `forwarding_failed`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.attempt.results import Bounced, Deferred, Delivered, Outcome
from services.deliver.core.attempt.retry import (
    STEPS,
    Retry,
    RetryTimes,
    next_attempt,
    next_turn,
    next_turn_before,
)
from shared.submission.attribution import versions_of
from shared.topics.records import FINAL, Attempts, Envelope, EventType, MailEvent, OnDoubt
from shared.topics.retry_topics import hop_envelope, next_hop

_IN_DOUBT: Final = (
    "A process offered the message to a server, and ended or lost its partition before the answer"
    " was recorded; the server may have it"
)
_EXPIRED: Final = "The message expired before it could be delivered"
_EXPIRED_HELD: Final = "The message expired while it was held; a server may have it"
# A held message is written again every FIRST_LOOK_S. After it has been held for FIRST_MS, it is
# written again every LATER_LOOK_S.
FIRST_LOOK_S: Final = 60.0
LATER_LOOK_S: Final = 300.0
FIRST_MS: Final = 3_600_000
# Maps each final event to the event that replaces it for mail to a forwarding address.
_FORWARDED: Final = {
    EventType.DELIVERED: EventType.FORWARDED,
    EventType.BOUNCED: EventType.FORWARDING_FAILED,
    EventType.EXPIRED: EventType.FORWARDING_FAILED,
    EventType.CANCELLED: EventType.FORWARDING_FAILED,
}


class PlannedEvent(Struct, frozen=True):
    """One event to publish."""

    kind: EventType
    data: MailEvent


class Plan(Struct, frozen=True):
    """The records to write. If the message is tried again, `retry` and its delay `step` are set."""

    events: tuple[PlannedEvent, ...]
    retry: Envelope | None = None
    step: str = ""


class Timing(Struct, frozen=True):
    """The time at which a plan is made, and the settings of the retry times."""

    now_ms: int
    retries: RetryTimes = RetryTimes()


def wait(envelope: Envelope, timing: Timing) -> Plan:
    """Return the plan that moves a message to its next hop, because it was read too early.

    The move is not an attempt and has no event.
    """
    hop = next_hop(envelope.not_before_ms, timing.now_ms, timing.retries.scale)
    return Plan((), hop_envelope(envelope, hop), hop.step)


def has_expired(envelope: Envelope, now_ms: int) -> bool:
    """Return whether the message has expired. An expired message is not attempted again."""
    return 0 < envelope.expires_at_ms <= now_ms


def expire(envelope: Envelope, now_ms: int) -> Plan:
    """Return the plan for a message that has expired and is not attempted again."""
    attempts = envelope.attempts
    data = base_event(envelope, attempts.count, now_ms, attempts.first_dispatched_at_ms)
    data = replace(
        data,
        reply=attempts.last_reply,
        enhanced=attempts.last_enhanced,
        reason=_EXPIRED_HELD if envelope.held_since_ms else _EXPIRED,
    )
    return as_forwarded(envelope, Plan((PlannedEvent(EventType.EXPIRED, data),)))


def plan(envelope: Envelope, outcome: Outcome, timing: Timing) -> Plan:
    """Return the plan that follows from the outcome of one attempt."""
    return as_forwarded(envelope, _plan(envelope, outcome, timing))


def with_versions(envelope: Envelope, found: Plan, shaping: str, provider: str = "") -> Plan:
    """Return the plan with the current versions and the provider added to its final event.

    An event that is not final gets its provider when its record is made. The versions and the
    provider are added in one copy, because copying an event with forty fields is expensive.
    """
    events: list[PlannedEvent] = []
    for each in found.events:
        if each.kind in FINAL:
            versions = versions_of(envelope, shaping)
            data = replace(each.data, versions=versions, provider=provider)
            events.append(PlannedEvent(each.kind, data))
        else:
            events.append(each)
    return Plan(tuple(events), found.retry, found.step)


def subject_of(envelope: Envelope) -> str:
    """Return the mail id that the events of this message are about."""
    return envelope.forwards or envelope.mail_id


def as_forwarded(envelope: Envelope, found: Plan) -> Plan:
    """Return the plan. For forwarded mail, replace the events in _FORWARDED and drop all others."""
    if not envelope.forwards:
        return found
    events = (
        PlannedEvent(
            _FORWARDED[each.kind],
            replace(each.data, first_dispatch=False, return_id=envelope.mail_id),
        )
        for each in found.events
        if each.kind in _FORWARDED
    )
    return replace(found, events=tuple(events))


def base_event(
    envelope: Envelope, attempt: int, now_ms: int, first_dispatched_at_ms: int
) -> MailEvent:
    """Return the data that every event of this message has."""
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
        submission_id=envelope.submission_key,
        submission_source=envelope.submission_source,
        code=envelope.code,
        metadata=envelope.metadata,
        mail_class=str(envelope.mail_class),
    )


def hold(envelope: Envelope, timing: Timing) -> Plan:
    """Return the plan for a message that waits until an operator decides."""
    now_ms = timing.now_ms
    since_ms = envelope.held_since_ms or now_ms
    look_s = FIRST_LOOK_S if now_ms - since_ms < FIRST_MS else LATER_LOOK_S
    turn = next_turn(look_s, now_ms, timing.retries)
    due_ms = min(turn.due_at_ms, envelope.expires_at_ms or turn.due_at_ms)
    return Plan((), replace(envelope, held_since_ms=since_ms, due_at_ms=due_ms), turn.step)


def must_hold(envelope: Envelope) -> bool:
    """Return whether this message is held if it is in doubt. Forwarded mail is never held."""
    return envelope.on_doubt is OnDoubt.HOLD and not envelope.forwards


def with_doubt(envelope: Envelope, found: Plan, now_ms: int) -> Plan:
    """Return the plan of a message in doubt after a crash, with `in_doubt` as its first event."""
    attempts = envelope.attempts
    data = replace(
        base_event(envelope, attempts.count, now_ms, attempts.first_dispatched_at_ms),
        reason=_IN_DOUBT,
        held=found.retry is not None and found.retry.held_since_ms > 0,
    )
    doubt = as_forwarded(envelope, Plan((PlannedEvent(EventType.IN_DOUBT, data),)))
    return replace(found, events=doubt.events + found.events)


def as_outcome(envelope: Envelope, found: Plan, timing: Timing) -> Plan:
    """Return the plan of an attempt, or a plan that holds the message if it is now in doubt."""
    if found.retry is None or not must_hold(envelope):
        return found
    if not any(each.kind is EventType.IN_DOUBT for each in found.events):
        return found
    deferral = found.events[-1].data
    # One event is enough, because it shows that the message is held and whether it was dispatched.
    data = replace(deferral, held=True, next_attempt_at_ms=0)
    onward = hold(replace(found.retry, held_since_ms=timing.now_ms), timing)
    return replace(onward, events=(PlannedEvent(EventType.IN_DOUBT, data),))


def _plan(envelope: Envelope, outcome: Outcome, timing: Timing) -> Plan:
    # An outcome counts as an attempt only if the message was offered to a server.
    is_attempt = not isinstance(outcome, Deferred) or outcome.waits_s is None
    attempt = envelope.attempts.count + is_attempt
    before = envelope.attempts.first_dispatched_at_ms
    dispatched = isinstance(outcome, Delivered) or outcome.dispatched
    first = dispatched and not before
    dispatched_at = timing.now_ms if first else before
    data = replace(
        base_event(envelope, attempt, timing.now_ms, dispatched_at),
        first_dispatch=first,
        reply=outcome.reply,
        enhanced=outcome.enhanced,
        site=outcome.site,
        source=outcome.source,
        tls=outcome.tls,
        tls_fault=outcome.tls_fault,
        tls_policy=outcome.tls_policy,
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
    retry = _retry(envelope, outcome, data.attempt, timing)
    data = replace(data, bounce_class=outcome.bounce_class, reason=outcome.reason)
    doubts: tuple[PlannedEvent, ...] = ()
    if outcome.in_doubt:
        doubt = replace(data, first_dispatch=False)
        doubts = (PlannedEvent(EventType.IN_DOUBT, doubt),)
    if 0 < envelope.expires_at_ms <= retry.due_at_ms:
        reason = f"The message expires before the next attempt; the last answer: {outcome.reason}"
        return Plan((*doubts, PlannedEvent(EventType.EXPIRED, replace(data, reason=reason))))
    data = replace(data, next_attempt_at_ms=retry.due_at_ms)
    # If the message was held, an operator has released it, so the hold ends here.
    turn_at_ms = retry.due_at_ms if outcome.is_turn else 0
    onward = replace(envelope, due_at_ms=retry.due_at_ms, held_since_ms=0, turn_at_ms=turn_at_ms)
    if outcome.waits_s is None:
        attempts = Attempts(
            count=data.attempt,
            first_dispatched_at_ms=data.first_dispatched_at_ms,
            last_reply=outcome.reply,
            last_enhanced=outcome.enhanced,
        )
        onward = replace(onward, attempts=attempts)
    return Plan((*doubts, PlannedEvent(EventType.DEFERRED, data)), onward, retry.step)


def _retry(envelope: Envelope, outcome: Deferred, attempts: int, timing: Timing) -> Retry:
    if outcome.waits_s is not None:
        return next_turn_before(
            envelope.expires_at_ms, outcome.waits_s, timing.now_ms, timing.retries
        )
    return next_attempt(
        envelope.mail_id,
        attempts,
        timing.now_ms,
        timing.retries,
        in_doubt=outcome.in_doubt,
        steps=outcome.retry_steps or STEPS,
    )
