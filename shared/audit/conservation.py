"""Checks the conservation equation: received = final events + held + waiting. Pure.

It holds for each mailing. Held is a message whose last event says that it is held for an operator
(`in_doubt`); all events of a message are in one partition, in order.

Owns: what counts as a fault. Does not own: reading the events (event_log.py), finding duplicate
ids among millions (doubles.py).

Final events are counted below one offset of the log and tallies below a later one, so the tally of
every counted final event is counted too. A negative number of waiting messages is therefore a
fault, however busy the pipeline is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.audit.returned_report import ReturnedReport
from shared.topics import ids
from shared.topics.event_records import Tally
from shared.topics.records import FINAL, Event, EventType

# The number of examples shown per kind of fault.
SHOWN: Final = 10

# After one of these a message is held no longer.
_ATTEMPTED: Final = (EventType.DEFERRED, EventType.IN_DOUBT)

Mailing = tuple[str, str, str]  # client, mailing ID, sub-client

_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_TO_DIGITS: Final = str.maketrans(_LETTERS, _DIGITS)
_ID_BYTES: Final = 16


class FaultKind(StrEnum):
    """The kinds of faults in the books."""

    DOUBLED_FINAL = "doubled_final"
    DOUBLED_DISPATCH = "doubled_first_dispatch"
    OVERDRAWN = "more_finals_than_received"
    UNTALLIED = "final_without_tally"
    MISSING = "missing_final"
    IN_NO_QUEUE = "in_no_queue"  # lost.py
    STRANGE_ID = "strange_mail_id"
    UNREADABLE = "unreadable_event"
    CUT_LOG = "events_deleted_from_kafka"
    # Of returned mail (returned.py).
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
    held: int = 0  # a server may have it; an operator sends or drops it


class Report(Struct, frozen=True):
    """The books of all mailings, and whether they balance."""

    balanced: bool
    settled: bool  # True: nothing may be waiting any more
    events: int
    received: int
    finals: int
    waiting: int
    first_dispatches: int
    rows: list[BookRow]
    faults: list[BookFault]
    held: int = 0
    lost: int = 0  # of those that count as waiting: the ones that are in no queue
    returned: ReturnedReport | None = None  # None: not looked at


def parse_mail_id(text: str) -> bytes | None:
    """Return the 16 bytes of a mail id (shared.topics.ids); None if it is not valid."""
    digits = text.translate(_TO_DIGITS)
    # translate() leaves I, L, O, U and lower case unchanged; they are not in the alphabet.
    if len(text) != ids.ID_CHARS or not text.isascii() or not set(text) <= set(_LETTERS):
        return None
    number = int(digits, 32)
    return number.to_bytes(_ID_BYTES, "big") if number < 1 << 128 else None


def mail_id_text(mail_id: bytes) -> str:
    """Return the mail id of these 16 bytes."""
    return ids.encode(int.from_bytes(mail_id, "big"))


class Books:
    """Adds up tallies and final events by mailing."""

    def __init__(self) -> None:
        self._received: Counter[Mailing] = Counter()
        self._finals: dict[Mailing, Counter[EventType]] = {}
        # The mailing of each message that is held now, by mail id.
        self._held: dict[str, Mailing] = {}
        self.events = 0
        self.first_dispatches = 0
        self.unreadable = 0
        self.strange: Counter[str] = Counter()

    def add_tally(self, tally: Tally) -> None:
        """Add the submissions of one transaction."""
        for row in tally.rows:
            self._received[row.client, row.mailing_id, row.sub_client] += row.received

    def add_event(self, event: Event) -> bytes | None:
        """Add an event; return its mail id if it is a final event or a first dispatch."""
        self.events += 1
        data = event.data
        is_final = event.type in FINAL
        mailing = (data.client, data.mailing_id, data.sub_client)
        if data.held:
            self._held[event.subject] = mailing
        elif self._held and (is_final or event.type in _ATTEMPTED):
            self._held.pop(event.subject, None)
        if is_final:
            self._finals.setdefault(mailing, Counter())[event.type] += 1
        self.first_dispatches += data.first_dispatch
        if not is_final and not data.first_dispatch:
            return None
        mail_id = parse_mail_id(event.subject)
        if mail_id is None and (len(self.strange) < SHOWN or event.subject in self.strange):
            self.strange[event.subject] += 1
        return mail_id

    def is_held(self, mail_id: str) -> bool:
        """Return True if this message is held for an operator."""
        return mail_id in self._held

    def rows(self) -> list[BookRow]:
        """Return the account of each mailing, sorted."""
        held = Counter(self._held.values())
        mailings = sorted(self._received.keys() | self._finals.keys())
        return [self._row(each, held[each]) for each in mailings]

    def _row(self, mailing: Mailing, held: int) -> BookRow:
        finals = self._finals.get(mailing, Counter())
        return BookRow(
            *mailing,
            received=self._received[mailing],
            refused=finals[EventType.REFUSED],
            suppressed=finals[EventType.SUPPRESSED],
            delivered=finals[EventType.DELIVERED],
            bounced=finals[EventType.BOUNCED],
            expired=finals[EventType.EXPIRED],
            cancelled=finals[EventType.CANCELLED],
            held=held,
            waiting=self._received[mailing] - finals.total() - held,
        )


class Doubles(Struct, frozen=True):
    """Mail ids that occur more than once, with their counts."""

    finals: Mapping[bytes, int]
    dispatches: Mapping[bytes, int]


def judge(
    books: Books, doubles: Doubles, settled: bool, cut_partitions: Sequence[int] = ()
) -> Report:
    """Build the report. `settled`: nothing may be waiting.

    `cut_partitions`: partitions whose beginning Kafka has deleted; the books are then incomplete.
    """
    rows = books.rows()
    faults = [
        *doubled_faults(doubles),
        _off(FaultKind.UNTALLIED, (row for row in rows if not row.received and row.waiting < 0)),
        _off(FaultKind.OVERDRAWN, (row for row in rows if row.received and row.waiting < 0)),
        _off(FaultKind.MISSING, (row for row in rows if settled and row.waiting > 0)),
        BookFault(FaultKind.STRANGE_ID, books.strange.total(), list(books.strange)),
        BookFault(FaultKind.UNREADABLE, books.unreadable, []),
        BookFault(
            FaultKind.CUT_LOG,
            len(cut_partitions),
            [f"partition {number}" for number in cut_partitions],
        ),
    ]
    faults = [fault for fault in faults if fault.count]
    received = sum(row.received for row in rows)
    waiting = sum(row.waiting for row in rows)
    held = sum(row.held for row in rows)
    return Report(
        balanced=not faults,
        settled=settled,
        events=books.events,
        received=received,
        finals=received - waiting - held,
        held=held,
        waiting=waiting,
        first_dispatches=books.first_dispatches,
        rows=rows,
        faults=faults,
    )


def doubled_faults(doubles: Doubles) -> list[BookFault]:
    """Return the faults of mail ids that occur more than once; kinds without any are left out."""
    faults = (
        _doubled(FaultKind.DOUBLED_FINAL, doubles.finals),
        _doubled(FaultKind.DOUBLED_DISPATCH, doubles.dispatches),
    )
    return [fault for fault in faults if fault.count]


def _doubled(kind: FaultKind, found: Mapping[bytes, int]) -> BookFault:
    """`count` is the number of surplus events."""
    examples = [mail_id_text(mail_id) for mail_id in sorted(found)[:SHOWN]]
    return BookFault(kind, sum(number - 1 for number in found.values()), examples)


def _off(kind: FaultKind, rows: Iterable[BookRow]) -> BookFault:
    """`count` is the number of messages by which the rows do not balance."""
    found = list(rows)
    examples = [
        f"{row.client}/{row.mailing_id}/{row.sub_client}: {row.waiting:+}" for row in found[:SHOWN]
    ]
    return BookFault(kind, sum(abs(row.waiting) for row in found), examples)
