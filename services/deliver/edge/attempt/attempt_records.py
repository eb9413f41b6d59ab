"""The records that an attempt reads and writes: events, the message on a retry topic, refusals.

Does not own: the steps that follow an outcome (core/attempt/plan.py), when records are written
(shared/stream/worker.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from services.deliver.core.attempt.giving_up import given_up
from services.deliver.core.attempt.plan import Plan, subject_of
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import encode_returned
from shared.topics.records import Envelope, Message

SERVICE: Final = "deliver"
UNREADABLE: Final = "unreadable"


def records_of(steps: Plan, envelope: Envelope, content: bytes, provider: str = "") -> list[Output]:
    """The records a plan writes: its events, and the message on its retry topic or given up."""
    mail_id = subject_of(envelope)
    written = [
        outputs.event(SERVICE, told.kind, mail_id, replace(told.data, provider=provider))
        for told in steps.events
    ]
    if envelope.own_events:
        written += [outputs.client_copy(told, envelope.client) for told in written]
    if steps.retry is not None:
        topic = names.deferred(steps.step)
        # The message waits from now on and is offered to no server.
        onward = replace(steps.retry, is_offered=False)
        written.append(outputs.pack(topic, [Message(onward, content)]))
    for each in given_up(steps, envelope, content):
        key, headers = encode_returned(each.returned)
        written.append(Output(names.RETURNED, each.header, key, headers))
    return written


def lane_of(topic: str) -> str:
    """The lane of an outbound topic; "" of any other topic."""
    prefix = names.OUTBOUND_PREFIX
    return topic[len(prefix) :] if topic.startswith(prefix) else ""


def due_at_ms(messages: Sequence[Message]) -> int:
    """When the last message of a pack is due, in Unix milliseconds; 0 means now."""
    return max(message.envelope.due_at_ms for message in messages)


def unreadable(record: Record, reason: str) -> list[Output]:
    """The output for a record that is not a valid pack."""
    return [outputs.refused_record(record, UNREADABLE, reason)]
