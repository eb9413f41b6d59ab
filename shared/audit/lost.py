"""Decides whether messages that count as waiting are in no queue at all, and so are lost. Pure.

The books count a message as waiting if it was received and has no final event. It is then on one
of the queues: every transaction that ends its place on one queue has its final event, or writes it
to the next queue. So messages are lost if some are waiting while the queues hold none.

Both are looked at one after the other, on a running pipeline. The judgement is made only if nothing
moved meanwhile: the queues are looked at before and after the events, no record was written to them
in between, and no transaction was open. Otherwise nothing is said, and a later audit may say it.

Does not own: looking at the queues (cli/queue/reading.py), the books (conservation.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from shared.audit.conservation import SHOWN, BookFault, FaultKind, Report


class QueueLook(Struct, frozen=True):
    """The queues at one moment.

    `messages`: those that wait on them, without those that are held for an operator.
    `is_certain`: everything on the queues was read, and no transaction was open.
    """

    ends: Mapping[str, int]  # the offset after the last record, by topic and partition
    messages: int
    is_certain: bool

    @property
    def is_empty(self) -> bool:
        """Whether it is certain that no message waits on the queues."""
        return self.is_certain and not self.messages


def is_settled(before: QueueLook, after: QueueLook, events_open: bool) -> bool:
    """Return True if the queues were empty all the time between two looks at them.

    `events_open`: a transaction was open on mail.events, which was read between the two looks.
    """
    is_same = before.ends == after.ends
    return before.is_empty and after.is_empty and is_same and not events_open


def with_lost(report: Report, mail_ids: Sequence[str]) -> Report:
    """Add the fault that all messages that count as waiting are in no queue.

    `mail_ids`: theirs, as far as the tallies name them.
    """
    lost = sum(row.waiting for row in report.rows if row.waiting > 0)
    if not lost:
        return report
    fault = BookFault(FaultKind.IN_NO_QUEUE, lost, list(mail_ids[:SHOWN]))
    return replace(report, balanced=False, lost=lost, faults=[*report.faults, fault])
