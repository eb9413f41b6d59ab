"""Reads an event in order to count it again: the fields that billing counts, and no other.

An event is readable if these are: an odd value elsewhere (`recipient` null) must not decide, since
the live count does not look at it, and the month could never be proved. The fields are those of
usage.py, in code of its own, so that a mistake there shows in a recount. If a record names its type
twice, the first one is its type, as in the live count; only a type of EventType is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from shared.topics.codec import EventDecoders, decode_event
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import Event, MailEvent, Violation


class _Rule(Struct, frozen=True):
    rule: str


class _Data(Struct, frozen=True):
    client: str
    mailing_id: str = ""
    sub_client: str = ""
    at_ms: int = 0
    first_dispatch: bool = False
    first_dispatched_at_ms: int = 0
    size_bytes: int = 0
    bounce_class: str = ""
    reason: str = ""
    rules: tuple[_Rule, ...] = ()


class _Row(Struct, frozen=True, array_like=True):
    client: str
    mailing_id: str
    sub_client: str
    received: int


class _Tally(Struct, frozen=True):
    service: str
    at_ms: int
    rows: tuple[_Row, ...] = ()


_data: Final = msgspec.json.Decoder(_Data)
_tally: Final = msgspec.json.Decoder(_Tally)


def read_event(headers: Iterable[tuple[str, bytes]], value: bytes | None) -> Event | Tally | None:
    """Return the event with its counted values; None for a type that this version does not know.

    Raises CodecError if what is counted of a known type cannot be read.
    """
    return decode_event(headers, value, _COUNTED)


def _tally_of(value: bytes) -> Tally:
    found = _tally.decode(value)
    rows = [
        TallyRow(each.client, each.mailing_id, each.sub_client, each.received)
        for each in found.rows
    ]
    return Tally(found.service, found.at_ms, tuple(rows))


def _mail_event_of(value: bytes) -> MailEvent:
    found = _data.decode(value)
    return MailEvent(
        client=found.client,
        mailing_id=found.mailing_id,
        sub_client=found.sub_client,
        at_ms=found.at_ms,
        first_dispatch=found.first_dispatch,
        first_dispatched_at_ms=found.first_dispatched_at_ms,
        size_bytes=found.size_bytes,
        bounce_class=found.bounce_class,
        reason=found.reason,
        rules=tuple(Violation(each.rule, "") for each in found.rules),
    )


_COUNTED: Final = EventDecoders(_mail_event_of, _tally_of)
