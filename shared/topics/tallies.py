"""The records of mail.events that count what was received, without an event per message."""

from __future__ import annotations

from msgspec import Struct, field


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
