"""One batch of messages judged: what goes on, the events, the counts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.verdict import Passed, Policy, Refused, Suppressed, judge
from shared.registry.client import Client
from shared.topics.records import Envelope, EventType, MailEvent, Message
from shared.topics.waiting import next_stay, stay_until

Mailing = tuple[str, str, str]


class Batch(Struct):
    """The outcome of a batch: messages by lane, events by mail id, received by mailing.

    `waiting` are those whose earliest time is ahead, each with its first delay step.
    """

    passed: dict[str, list[Message]]
    waiting: list[tuple[str, Message]]
    events: list[tuple[EventType, str, MailEvent]]
    received: dict[Mailing, int]


def judge_batch(
    messages: Iterable[Message],
    client_of: Callable[[str], Client | None],
    policy: Policy,
    now_ms: int,
) -> Batch:
    """Judge each message; every one ends in one of the three, and is counted."""
    batch = Batch({}, [], [], {})
    received = batch.received
    for message in messages:
        envelope = message.envelope
        client = client_of(envelope.client)
        match judge(envelope, client, policy, now_ms):
            case Passed(onward):
                if onward.not_before_ms > now_ms:
                    batch.waiting.append(_first_stay(onward, message.content, now_ms))
                else:
                    passed = batch.passed.setdefault(onward.lane, [])
                    passed.append(Message(onward, message.content))
                key = (onward.client, onward.mailing_id, onward.sub_client)
            case Refused(event):
                batch.events.append((EventType.REFUSED, envelope.mail_id, event))
                key = (event.client, event.mailing_id, event.sub_client)
            case Suppressed(event):
                batch.events.append((EventType.SUPPRESSED, envelope.mail_id, event))
                key = (event.client, event.mailing_id, event.sub_client)
        received[key] = received.get(key, 0) + 1
    return batch


def _first_stay(envelope: Envelope, content: bytes, now_ms: int) -> tuple[str, Message]:
    stay = next_stay(envelope.not_before_ms, now_ms)
    early = replace(envelope, earliest_ms=envelope.not_before_ms)
    return stay.step, Message(stay_until(early, stay), content)
