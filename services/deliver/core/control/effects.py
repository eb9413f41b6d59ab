"""Maps an operator's order about a message to the records to write. Pure.

`cancel`, `bounce` and `expire` end the message with one final event, which contains the author of
the order and the reason. `suspend` defers the message without an attempt. No order dispatches a
message, so no order is billed. A message that was dispatched before the order stays billed.

A suspended message waits on the delay topics. Its delay steps grow with the age of the suspension,
so that the message is written again only a few times. After `resume` the message is read when its
current delay step ends, which is after 72 minutes at most. Each message has its own jitter, so that
messages that were suspended together are not read in one burst.
"""

from __future__ import annotations

import zlib
from typing import Final

from msgspec.structs import replace

from services.deliver.core.attempt.plan import Plan, PlannedEvent, Timing, as_forwarded, base_event
from services.deliver.core.attempt.retry import Retry, next_turn
from shared.topics.control import MAX_TEXT_CHARS, Order, Verb
from shared.topics.records import Envelope, EventType, MailEvent
from shared.topics.retry_topics import JITTER_SHARE

# All records of a delay topic must have about the same delay, so each step has its own topic.
STEPS_S: Final = (60, 300, 900, 3600)
# The next step is at most this part of the time for which the suspension has lasted.
AGE_SHARE: Final = 0.5
_WORDS: Final = {
    Verb.CANCEL: "Cancelled",
    Verb.BOUNCE: "Bounced",
    Verb.EXPIRE: "Expired",
    Verb.SUSPEND: "Suspended",
}
_KINDS: Final = {
    Verb.CANCEL: EventType.CANCELLED,
    Verb.BOUNCE: EventType.BOUNCED,
    Verb.EXPIRE: EventType.EXPIRED,
}


def follow(envelope: Envelope, order: Order, timing: Timing) -> Plan:
    """Return the plan for a message that is not attempted because of this order."""
    attempts = envelope.attempts
    data = replace(
        base_event(envelope, attempts.count, timing.now_ms, attempts.first_dispatched_at_ms),
        reply=attempts.last_reply,
        enhanced=attempts.last_enhanced,
        reason=reason_of(order),
        author=order.author,
    )
    kind = _KINDS.get(order.verb)
    if kind is not None:
        return as_forwarded(envelope, Plan((PlannedEvent(kind, data),)))
    return as_forwarded(envelope, _suspend(envelope, order, data, timing))


def reason_of(order: Order) -> str:
    """Return the `reason` of an event that follows from this order."""
    said = f": {order.reason}" if order.reason else ""
    author = order.author or "an operator"
    return f"{_WORDS[order.verb]} by {author} ({order.scope}){said}"[:MAX_TEXT_CHARS]


def next_look(mail_id: str, order: Order, timing: Timing) -> Retry:
    """Return the time of the next read of a message that this order suspends."""
    now_ms = timing.now_ms
    spread = zlib.crc32(f"{mail_id}.{order.at_ms}".encode()) / 0xFFFF_FFFF
    age_s = (now_ms - order.at_ms) / 1000
    step_s = max(each for each in STEPS_S if each <= max(STEPS_S[0], age_s * AGE_SHARE))
    left_s = (order.expires_at_ms - now_ms) / 1000
    if order.expires_at_ms and left_s < step_s:
        # The suspension ends soon. The reads of the suspended mail are spread over the first
        # STEPS_S[0] seconds after the end.
        return next_turn(left_s + spread * STEPS_S[0], now_ms, timing.retries)
    found = next_turn(step_s, now_ms, timing.retries)
    jitter_ms = int((found.due_at_ms - now_ms) * JITTER_SHARE * spread)
    return replace(found, due_at_ms=found.due_at_ms + jitter_ms)


def _suspend(envelope: Envelope, order: Order, data: MailEvent, timing: Timing) -> Plan:
    turn = next_look(envelope.mail_id, order, timing)
    due_ms = turn.due_at_ms
    if envelope.expires_at_ms:
        # The message is read at its expiry time at the latest, so that it does not expire late.
        due_ms = min(due_ms, envelope.expires_at_ms)
    data = replace(data, next_attempt_at_ms=due_ms)
    return Plan(
        (PlannedEvent(EventType.DEFERRED, data),), replace(envelope, due_at_ms=due_ms), turn.step
    )
