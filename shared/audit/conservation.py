"""Checks the conservation equation: received = final events + held + waiting. Pure.

The equation holds for each mailing. A message is held if its last event is `in_doubt` and this
event reports that an operator must decide about the message. All events of a message are in one
partition, so they are read in order.

Owns: the definition of a fault. Does not own: the report (report.py), reading the events
(event_log.py), finding duplicate ids among millions (doubles.py), reading the queues
(cli/queue/reading.py).

The tallies are read up to a later offset of the log than the final events. So if a final event is
counted, the tally of the same message is counted, too. A negative number of waiting messages is
therefore a fault, even while mail flows.

A message that counts as waiting must be on one of the queues, because every transaction that
removes a message from a queue writes the final event, or writes the message to the next queue. So
if messages count as waiting while the queues are empty, these messages are lost. The audit reports
such a loss only if the pipeline stood still. To check this, the audit reads the queues before and
after the events. The pipeline stood still if no record was written to the queues between these two
readings and if no transaction was open. Otherwise, a later audit may find the loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.audit.report import SHOWN, BookFault, BookRow, FaultKind, Report
from shared.topics import ids
from shared.topics.event_records import Tally
from shared.topics.records import FINAL, Event, EventType

# After one of these events, a message is no longer held, unless the event itself reports that the
# message is held.
_ATTEMPTED: Final = (EventType.DEFERRED, EventType.IN_DOUBT)

Mailing = tuple[str, str, str]  # client, mailing ID, sub-client


def parse_mail_id(text: str) -> bytes | None:
    """Return the 16 bytes of a mail id, or None if the text is not valid."""
    try:
        return ids.to_bytes(text)
    except ValueError:
        return None


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
        """Return whether this message is held for an operator."""
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
    """Build the report. `settled` is True if a waiting message is a fault.

    `cut_partitions` are the partitions whose first records Kafka has deleted. If there are such
    partitions, the books are incomplete.
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
    """Return the faults of mail ids that occur more than once; omit kinds with count 0."""
    faults = (
        _doubled(FaultKind.DOUBLED_FINAL, doubles.finals),
        _doubled(FaultKind.DOUBLED_DISPATCH, doubles.dispatches),
    )
    return [fault for fault in faults if fault.count]


def _doubled(kind: FaultKind, found: Mapping[bytes, int]) -> BookFault:
    """Return the fault for these ids. Its `count` is the number of surplus events."""
    examples = [ids.from_bytes(mail_id) for mail_id in sorted(found)[:SHOWN]]
    return BookFault(kind, sum(number - 1 for number in found.values()), examples)


def _off(kind: FaultKind, rows: Iterable[BookRow]) -> BookFault:
    """Return the fault for these rows.

    Its `count` is the number of messages that are missing or surplus.
    """
    found = list(rows)
    examples = [
        f"{row.client}/{row.mailing_id}/{row.sub_client}: {row.waiting:+}" for row in found[:SHOWN]
    ]
    return BookFault(kind, sum(abs(row.waiting) for row in found), examples)


class QueueLook(Struct, frozen=True):
    """The state of the queues at one moment.

    `messages` is the number of waiting messages, without messages held for an operator.
    `is_certain` is True if all records on the queues were read, and no transaction was open.
    """

    ends: Mapping[str, int]  # the offset after the last record, by topic and partition
    messages: int
    is_certain: bool

    @property
    def is_empty(self) -> bool:
        """Return True if certainly no message waits on the queues."""
        return self.is_certain and not self.messages


def is_settled(before: QueueLook, after: QueueLook, events_open: bool) -> bool:
    """Return True if the queues were certainly empty from the first look to the second.

    `events_open` is True if a transaction was open on mail.events, which was read between the two
    looks.
    """
    is_same = before.ends == after.ends
    return before.is_empty and after.is_empty and is_same and not events_open


def with_lost(report: Report, mail_ids: Sequence[str]) -> Report:
    """Add a fault to the report for messages that count as waiting but are in no queue.

    `mail_ids` has the ids of these messages, except ids that no tally contains.
    """
    lost = sum(row.waiting for row in report.rows if row.waiting > 0)
    if not lost:
        return report
    fault = BookFault(FaultKind.IN_NO_QUEUE, lost, list(mail_ids[:SHOWN]))
    return replace(report, balanced=False, lost=lost, faults=[*report.faults, fault])
