"""The four accounts of one run: promises, the sink's journal, events, the bill."""

from __future__ import annotations

from msgspec import Struct

from shared.topics.event_records import TallyRow
from shared.topics.records import Event, EventType

Cell = tuple[str, str, str]  # client, mailing ID, sub-client


class Promise(Struct, frozen=True, omit_defaults=True):
    """One acknowledged submission. `maybe_twice` is True if it was submitted again unchanged."""

    message_id: str
    rcpt: str
    client: str
    mailing_id: str
    sub_client: str
    expected: EventType | None = None
    topic: str = ""
    partition: int = -1
    offset: int = -1
    at_ms: int = 0
    maybe_twice: bool = False

    @property
    def cell(self) -> Cell:
        """Return the cell that counts the message."""
        return self.client, self.mailing_id, self.sub_client


class SinkLine(Struct, frozen=True):
    """One line of the sink's journal: the sink's answer to one RCPT or one message."""

    verdict: str
    rcpt: str
    t: float = 0.0
    message_id: str = ""
    mail_from: str = ""
    size: int = 0
    reply: str = ""
    stage: str = ""


class BillRow(Struct, frozen=True):
    """The dispatched messages of one cell according to billing."""

    client: str
    mailing_id: str
    sub_client: str
    count: int


class Evidence(Struct, frozen=True):
    """The four accounts of one run, reduced to the clients of the run."""

    promises: tuple[Promise, ...]
    sink: tuple[SinkLine, ...]
    events: tuple[Event, ...]
    tallies: tuple[TallyRow, ...]
    bill: tuple[BillRow, ...]
