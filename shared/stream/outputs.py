"""The output records that every service writes: events, tallies, packs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import encode_event, encode_pack, encode_tally
from shared.topics.records import EventType, MailEvent, Message, Tally, TallyRow


def event(service: str, kind: EventType, mail_id: str, data: MailEvent) -> Output:
    """The record on mail.events that tells this."""
    key, value, headers = encode_event(kind, mail_id, data, service)
    return Output(names.EVENTS, value, key, headers)


def told(
    service: str, kind: EventType, mail_id: str, data: MailEvent, *, has_own_events: bool
) -> list[Output]:
    """The records that tell this: on mail.events and, where the client has one, its own topic."""
    first = event(service, kind, mail_id, data)
    return [first, own_copy(first, data.client)] if has_own_events else [first]


def own_copy(told: Output, client: str) -> Output:
    """The same event for the client's own topic; written in the transaction of `told`."""
    return told._replace(topic=names.own_events(client))


def pack(topic: str, messages: Sequence[Message], partition: int | None = None) -> Output:
    """The record that carries these messages on."""
    value, headers = encode_pack(messages)
    return Output(topic, value, None, headers, partition)


def tally(
    service: str, tally_id: str, at_ms: int, counts: Mapping[tuple[str, str, str], int]
) -> Output:
    """The record on mail.events that tells what one transaction took in, by mailing.

    `tally_id` must be unique to the transaction and the same when it is made anew.
    """
    rows = tuple(TallyRow(*key, received=count) for key, count in sorted(counts.items()))
    key, value, headers = encode_tally(Tally(service, at_ms, rows), tally_id)
    return Output(names.EVENTS, value, key, headers)


def refused_bytes(
    record_value: bytes, code: str, reason: str, place: tuple[str, int, int], mail_id: str = ""
) -> Output:
    """The record on mail.refused that keeps bytes which could not be read, and why."""
    topic, partition, offset = place
    headers = [
        ("code", code.encode()),
        ("reason", reason.encode()),
        ("topic", topic.encode()),
        ("partition", str(partition).encode()),
        ("offset", str(offset).encode()),
    ]
    if mail_id:
        headers.append(("mail_id", mail_id.encode()))
    return Output(names.REFUSED, record_value, mail_id.encode() or None, headers)
