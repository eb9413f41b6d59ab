"""Defines the report of an audit: the accounts of mailings and returned mail, and the faults.

Owns: the data types that `sluice audit` shows and writes as JSON. Does not own: the definition of a
fault (conservation.py, returned.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

# The largest number of examples that are shown per kind of fault.
SHOWN: Final = 10


class FaultKind(StrEnum):
    """The kinds of faults in the books."""

    DOUBLED_FINAL = "doubled_final"
    DOUBLED_DISPATCH = "doubled_first_dispatch"
    OVERDRAWN = "more_finals_than_received"
    UNTALLIED = "final_without_tally"
    MISSING = "missing_final"
    IN_NO_QUEUE = "in_no_queue"
    STRANGE_ID = "strange_mail_id"
    UNREADABLE = "unreadable_event"
    CUT_LOG = "events_deleted_from_kafka"
    # The kinds of faults of returned mail (returned.py).
    LOST_RETURNED = "returned_mail_without_event"
    DOUBLED_RETURNED = "doubled_event_of_returned_mail"
    DOUBLED_FORWARD = "doubled_end_of_forwarded_mail"
    STRANGE_RETURNED = "event_of_unknown_returned_mail"
    UNREADABLE_RETURNED = "unreadable_returned_mail"
    WAITING_RETURNED = "returned_mail_waiting"


class BookFault(Struct, frozen=True):
    """One kind of fault: its count, and a few mail ids or mailings as examples."""

    kind: FaultKind
    count: int
    examples: list[str]


class BookRow(Struct, frozen=True):
    """The account of one mailing."""

    client: str
    mailing_id: str
    sub_client: str
    received: int
    refused: int
    suppressed: int
    delivered: int
    bounced: int
    expired: int
    cancelled: int
    waiting: int
    held: int = 0  # a server may have the message; an operator decides whether to send or drop it


class ReturnedRow(Struct, frozen=True):
    """The account of one client's returned mail, counted by result.

    `open` is the number of messages that have no event and no record on mail.refused so far. This
    is the number came_back - events - not_understood. While mail flows, this number may be
    negative, because events are read up to a later moment than the mail. `kept_back` is the number
    of messages that the validate service read but did not forward. This number includes messages of
    `came_back` and of `given_up`. The metrics of the validate service show the reasons.
    """

    client: str
    came_back: int
    events: int
    not_understood: int  # messages that are on mail.refused because of a programming error
    open: int
    given_up: int  # refused, suppressed or undelivered messages; not part of came_back
    forwarded: int
    not_forwarded: int  # messages that the forwarding address refused, or that expired
    kept_back: int = 0  # unwanted, in a loop, or only listed in a digest (sent or not)


class ReturnedReport(Struct, frozen=True):
    """The account of returned mail by client.

    `waiting` is the number of messages that the validate service has not read yet.
    """

    came_back: int
    events: int
    waiting: int
    rows: list[ReturnedRow]


class Report(Struct, frozen=True):
    """The books of all mailings, and whether they balance."""

    balanced: bool
    settled: bool  # True if a waiting message is a fault
    events: int
    received: int
    finals: int
    waiting: int
    first_dispatches: int
    rows: list[BookRow]
    faults: list[BookFault]
    held: int = 0
    lost: int = 0  # messages that count as waiting but are in no queue
    returned: ReturnedReport | None = None  # None if returned mail was not audited
