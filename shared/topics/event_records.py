"""What readers of all events look at in a record of mail.events, and the records that count.

A tally counts what was received in one transaction, without an event per message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct, field

TYPE_HEADER: Final = "ce_type"


class EventRecord(Protocol):
    """The parts of a Kafka record that are used."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The headers."""
        ...

    @property
    def key(self) -> bytes | None:
        """The mail id."""
        ...

    @property
    def value(self) -> bytes | None:
        """The value."""
        ...


def type_of(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """The type of the event; b"" without one."""
    # encode_event writes the type as the third header; other producers may write it anywhere.
    if len(headers) > 2 and headers[2][0] == TYPE_HEADER:
        return headers[2][1]
    return next((value for name, value in headers if name == TYPE_HEADER), b"")


class TallyRow(Struct, frozen=True, array_like=True, gc=False):
    """The submissions of one mailing in a transaction: how many, and which."""

    client: str
    mailing_id: str
    sub_client: str
    received: int
    mail_ids: tuple[str, ...] = ()  # as many; none in records of earlier versions


class Tally(Struct, frozen=True):
    """The data of a `sluice.tally` event: the submissions received in one transaction."""

    service: str
    at_ms: int
    rows: tuple[TallyRow, ...] = field(default_factory=tuple)
