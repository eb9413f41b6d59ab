"""Records of mail.events, as the code that counts them sees them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from shared.topics.codec import encode_event, encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import EventType, MailEvent


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


NOON: Final = ms("2026-11-15T12:00:00+00:00")


class FakeRecord(Struct):
    headers: Sequence[tuple[str, bytes]]
    value: bytes | None
    timestamp: int = NOON


def event(kind: EventType, client: str = "shop", **fields: object) -> FakeRecord:
    data = msgspec.convert(
        {"client": client, "mailing_id": "news", "at_ms": NOON, **fields}, MailEvent
    )
    _, value, headers = encode_event(kind, "0" * 26, data, "deliver")
    return FakeRecord(headers, value)


def tally(*cells: tuple[str, str, str, int], at_ms: int = NOON) -> FakeRecord:
    told = Tally("validate", at_ms, tuple(TallyRow(*cell) for cell in cells))
    _, value, headers = encode_tally(told, "validate.1.1")
    return FakeRecord(headers, value)
