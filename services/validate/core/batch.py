"""Judges one batch of messages; returns the messages to pass on, the events and the counts. Pure.

Judging has two steps, because the submission keys are looked up between the steps. First
judge_all() returns the verdicts of the rules. Then assemble() combines the verdicts with the
results of the look-up, and decides which records are written. If a client wants its refused and
suppressed messages back, this module also builds their records for mail.returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.verdict import (
    Cancelled,
    Held,
    Passed,
    Policy,
    Refused,
    Suppressed,
    Verdict,
    judge,
)
from shared.registry.client import Client, Returns
from shared.submission.attribution import (
    duplicate_event,
    reused_event,
    unsent_event,
    withdrawn_event,
)
from shared.topics import ids
from shared.topics.records import (
    Envelope,
    EventType,
    MailEvent,
    Message,
    ReturnAddressKind,
    Returned,
)
from shared.topics.retry_topics import hop_envelope, next_hop
from shared.topics.submission_keys import Answer, Conflict, Duplicate, Withdrawn

Mailing = tuple[str, str, str]

_KINDS: Final = {
    EventType.REFUSED: (Returns.REFUSED, ReturnAddressKind.REFUSED),
    EventType.SUPPRESSED: (Returns.SUPPRESSED, ReturnAddressKind.SUPPRESSED),
}


class Judged(Struct, frozen=True, gc=False):
    """A message and the rules' verdict on the message."""

    message: Message
    verdict: Verdict


class Batch(Struct):
    """The outcome of a batch: the messages of each lane, the events with their mail ids, and the
    received mail ids of each mailing.

    `sent` is the number of messages of each mailing that are passed on, now or later. `waiting` has
    the messages that must not be sent yet, each with its first delay step. `held` has the messages
    over a quota, as they were submitted; held messages are not counted as received yet. `unsent`
    has the refused and suppressed messages, with their events.
    """

    passed: dict[str, list[Message]]
    waiting: list[tuple[str, Message]]
    events: list[tuple[EventType, str, MailEvent]]
    received: dict[Mailing, list[str]]
    unsent: list[tuple[EventType, Message, MailEvent]]
    held: list[Message]
    sent: dict[Mailing, int]

    def onward(self) -> Iterator[Message]:
        """Return all messages that are passed on, now or later."""
        yield from chain.from_iterable(self.passed.values())
        yield from (message for _, message in self.waiting)


def judge_all(
    messages: Iterable[Message],
    client_of: Callable[[str], Client | None],
    policy: Policy,
    now_ms: int,
    parents_of: Callable[[str], Sequence[Client]] = lambda _: (),
) -> list[Judged]:
    """Return each message with the verdict of the rules."""
    found = []
    for message in messages:
        name = message.envelope.client
        verdict = judge(message.envelope, client_of(name), policy, now_ms, parents_of(name))
        found.append(Judged(message, verdict))
    return found


def keeps_key(judged: Judged) -> bool:
    """Return whether this submission claims its key.

    After a claim, any later submission with the same key is a duplicate. A refused submission does
    not claim its key, so that the platform can correct the message and submit it again. But a
    refused message that came by SMTP claims its key, because the SMTP server accepted the message
    before this service judged the message. A duplicate of the message may have the same mail id,
    and a mail id must have only one outcome.
    """
    return not isinstance(judged.verdict, Refused) or not judged.message.envelope.origin.topic


def assemble(judged: Sequence[Judged], answers: Mapping[int, Answer], now_ms: int) -> Batch:
    """Combine the verdicts with the answers for the keys into the outcome of the batch. `answers`
    maps the index of a message to the answer for its key.

    Every message ends as passed, held, refused, suppressed, cancelled or duplicate. All messages
    except duplicates and held messages are counted as received.
    """
    batch = Batch({}, [], [], {}, [], [], {})
    for index, one in enumerate(judged):
        match answers.get(index):
            case Duplicate(first):
                event = duplicate_event(_event_of(one, now_ms), ids.from_bytes(first))
                batch.events.append((EventType.DUPLICATE, one.message.envelope.mail_id, event))
                continue
            case Withdrawn():
                verdict: Verdict = Cancelled(withdrawn_event(_event_of(one, now_ms)))
            case Conflict(first):
                event = _event_of(one, now_ms)
                mail_id = ids.from_bytes(first)
                verdict = Refused(reused_event(event, one.message.envelope, mail_id))
            case _:
                verdict = one.verdict
        key = _add(batch, one.message, verdict, now_ms)
        if key is not None:
            batch.received.setdefault(key, []).append(one.message.envelope.mail_id)
    return batch


def returned_of(
    kind: EventType, message: Message, event: MailEvent, client: Client | None
) -> Returned | None:
    """Return the record that is written to mail.returned for a message that ended with this event.
    Return None if the client does not want the message back."""
    wanted = _KINDS.get(kind)
    if client is None or wanted is None or wanted[0] not in client.returns:
        return None
    mail_id = message.envelope.mail_id
    return Returned(
        return_id=ids.derive(f"returned/{mail_id}", 0, 0, event.at_ms),
        client=client.name,
        recipient=event.recipient,
        sender=message.envelope.sender,
        received_at_ms=event.at_ms,
        address_kind=wanted[1],
        mailing_id=event.mailing_id,
        sub_client=event.sub_client,
        mail_id=mail_id,
        reason=event.reason,
        status=event.enhanced,
    )


def _add(batch: Batch, message: Message, verdict: Verdict, now_ms: int) -> Mailing | None:
    match verdict:
        case Passed(onward):
            if onward.due_at_ms > now_ms:
                batch.waiting.append(_first_stay(onward, message.content, now_ms))
                event = replace(
                    unsent_event(onward, "", now_ms), next_attempt_at_ms=onward.due_at_ms
                )
                batch.events.append((EventType.SCHEDULED, onward.mail_id, event))
            else:
                passed = batch.passed.setdefault(onward.lane, [])
                passed.append(Message(onward, message.content))
            mailing = onward.client, onward.mailing_id, onward.sub_client
            batch.sent[mailing] = batch.sent.get(mailing, 0) + 1
            return mailing
        case Held(envelope, reason):
            batch.held.append(message)
            event = unsent_event(envelope, reason, now_ms)
            batch.events.append((EventType.HELD, envelope.mail_id, event))
            return None
        case Refused(event):
            kind = EventType.REFUSED
        case Suppressed(event):
            kind = EventType.SUPPRESSED
        case Cancelled(event):
            kind = EventType.CANCELLED
    batch.events.append((kind, message.envelope.mail_id, event))
    batch.unsent.append((kind, message, event))
    return event.client, event.mailing_id, event.sub_client


def _event_of(judged: Judged, now_ms: int) -> MailEvent:
    match judged.verdict:
        case Passed(onward) | Held(onward):
            return unsent_event(onward, "", now_ms)
        case Refused(event) | Suppressed(event) | Cancelled(event):
            return event


def _first_stay(envelope: Envelope, content: bytes, now_ms: int) -> tuple[str, Message]:
    hop = next_hop(envelope.due_at_ms, now_ms)
    early = replace(envelope, not_before_ms=envelope.due_at_ms)
    return hop.step, Message(hop_envelope(early, hop), content)
