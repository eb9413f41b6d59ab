"""What follows when it is not known whether a server has a message. Pure.

That is so if a process began to offer it and no outcome is on record, or if a server got the whole
content and did not answer. Such a message is sent again, or held (`on_doubt` of its client or
code): it waits on the delay topics, where it is looked at again and again, until an operator
releases or cancels it, or it expires. `sluice queue` shows it there. A held message is written
again every minute, after an hour every five minutes, and has one event: `in_doubt` with `held`.

After a crash it is not known whether a server answered MAIL or RCPT, so the doubt alone is not
billed; an attempt after it is.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from services.deliver.core.attempt.plan import Plan, PlannedEvent, Timing, base_event, told
from services.deliver.core.attempt.turns import next_turn
from shared.topics.records import Envelope, EventType, OnDoubt

REASON: Final = (
    "A process that offered the message to a server ended before the answer was recorded;"
    " the server may have it"
)
FIRST_LOOK_S: Final = 60.0
LATER_LOOK_S: Final = 300.0
FIRST_MS: Final = 3_600_000


def hold(envelope: Envelope, timing: Timing) -> Plan:
    """The plan for a message that is not sent before an operator decides."""
    now_ms = timing.now_ms
    since_ms = envelope.held_since_ms or now_ms
    look_s = FIRST_LOOK_S if now_ms - since_ms < FIRST_MS else LATER_LOOK_S
    turn = next_turn(look_s, now_ms, timing.retries)
    due_ms = min(turn.due_at_ms, envelope.expires_at_ms or turn.due_at_ms)
    return Plan((), replace(envelope, held_since_ms=since_ms, due_at_ms=due_ms), turn.step)


def must_hold(envelope: Envelope) -> bool:
    """Whether the message is held when it is in doubt; mail that forwards other mail is not."""
    return envelope.on_doubt is OnDoubt.HOLD and not envelope.forwards


def with_doubt(envelope: Envelope, found: Plan, now_ms: int) -> Plan:
    """The plan for a message in doubt after a crash: its event comes first."""
    attempts = envelope.attempts
    data = replace(
        base_event(envelope, attempts.count, now_ms, attempts.first_dispatched_at_ms),
        reason=REASON,
        held=found.retry is not None and found.retry.held_since_ms > 0,
    )
    doubt = told(envelope, Plan((PlannedEvent(EventType.IN_DOUBT, data),)))
    return replace(found, events=doubt.events + found.events)


def as_outcome(envelope: Envelope, found: Plan, timing: Timing) -> Plan:
    """The plan of an attempt, or of holding the message if its server left the outcome open."""
    doubts = [each for each in found.events if each.kind is EventType.IN_DOUBT]
    if not doubts or found.retry is None or not must_hold(envelope):
        return found
    deferral = found.events[-1].data
    # One event is enough: it says that the message is held and whether it was dispatched.
    data = replace(deferral, held=True, next_attempt_at_ms=0)
    onward = hold(replace(found.retry, held_since_ms=timing.now_ms), timing)
    return replace(onward, events=(PlannedEvent(EventType.IN_DOUBT, data),))
