"""Finds out what an event means for the reputation of its client and its source. Pure.

Only answers of servers are counted. A message that was deferred because of a limit, an operator or
a suspension was not offered to a server, so its deferral is not counted. Every policy reply is
counted, because every policy reply is a block. Bounces are final failures of the classes hard, soft
and content.

This module reads every event, so it decodes only the fields that it needs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from shared.topics.event_records import EventRecord, type_of
from shared.topics.records import EventType

_MAIL: Final = "sluice.mail."
_BOUNCES: Final = frozenset({"hard", "soft", "content"})
_BLOCKS: Final = frozenset({"policy", "authentication"})


class Result(StrEnum):
    """The result of an attempt, or a later report about the message."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    BLOCKED = "blocked"


class Fact(Struct, frozen=True, gc=False):
    """One result. `provider` is "" if the event has no provider; `source` is our address."""

    result: Result
    client: str
    recipient: str
    provider: str
    source: str
    mail_class: str
    at_ms: int


class _Data(Struct, frozen=True, gc=False):
    client: str
    recipient: str = ""
    bounce_class: str = ""
    provider: str = ""
    source: str = ""
    mail_class: str = ""
    at_ms: int = 0


_decoder: Final = msgspec.json.Decoder(_Data)
# The result for each kind of event; None means that the bounce class decides the result.
_KINDS: Final[dict[bytes, Result | None]] = {
    (_MAIL + EventType.DELIVERED).encode(): Result.DELIVERED,
    (_MAIL + EventType.COMPLAINED).encode(): Result.COMPLAINED,
    (_MAIL + EventType.BOUNCED).encode(): None,
    (_MAIL + EventType.DEFERRED).encode(): None,
}
_BOUNCED: Final = (_MAIL + EventType.BOUNCED).encode()


def fact_of(record: EventRecord) -> Fact | None:
    """Return the fact that follows from this event; None if no fact follows.

    Raises ValueError if the event cannot be read.
    """
    kind = type_of(record.headers)
    if kind not in _KINDS:
        return None
    try:
        data = _decoder.decode(record.value or b"")
    except RecursionError:
        raise ValueError("the event is nested too deeply") from None
    result = _KINDS[kind] or _failure(kind, data.bounce_class)
    if result is None:
        return None
    return Fact(
        result,
        data.client,
        data.recipient,
        data.provider,
        data.source,
        data.mail_class,
        data.at_ms,
    )


def _failure(kind: bytes, bounce_class: str) -> Result | None:
    if bounce_class in _BLOCKS:
        return Result.BLOCKED
    return Result.BOUNCED if kind == _BOUNCED and bounce_class in _BOUNCES else None
