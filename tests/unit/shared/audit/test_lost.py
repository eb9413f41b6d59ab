"""Messages that count as waiting are called lost only if no queue can hold them."""

from __future__ import annotations

import pytest

from shared.audit.conservation import (
    Books,
    Doubles,
    QueueLook,
    is_settled,
    judge,
    parse_mail_id,
    with_lost,
)
from shared.audit.doubles import DoubleSearch, IdBuckets
from shared.audit.report import BookRow, FaultKind, Report
from shared.topics import ids
from shared.topics.records import Event, EventType, MailEvent

ENDS = {"mail.received/0": 7, "mail.outbound.default/0": 9}
EMPTY = QueueLook(ENDS, 0, is_certain=True)
MOVED = QueueLook({**ENDS, "mail.received/0": 8}, 0, is_certain=True)


@pytest.mark.parametrize(
    ("before", "after", "events_open", "expected"),
    [
        (EMPTY, EMPTY, False, True),
        (EMPTY, EMPTY, True, False),
        (EMPTY, MOVED, False, False),
        (QueueLook(ENDS, 1, is_certain=True), EMPTY, False, False),
        (EMPTY, QueueLook(ENDS, 1, is_certain=True), False, False),
        (QueueLook(ENDS, 0, is_certain=False), EMPTY, False, False),
        (EMPTY, QueueLook(ENDS, 0, is_certain=False), False, False),
        (EMPTY, QueueLook({"mail.received/0": 7}, 0, is_certain=True), False, False),
    ],
)
def test_nothing_is_said_of_queues_that_hold_mail_or_moved_or_were_not_read(
    before: QueueLook, after: QueueLook, events_open: bool, expected: bool
) -> None:
    assert is_settled(before, after, events_open) is expected


def report(*waiting: int) -> Report:
    rows = [BookRow("shop", f"M-{n}", "", n, 0, 0, 0, 0, 0, 0, n) for n in waiting]
    return Report(True, False, 9, 20, 20 - sum(waiting), sum(waiting), 0, rows, [])


def test_lost_messages_are_a_fault_with_at_most_ten_mail_ids() -> None:
    found = with_lost(report(3, 9), [f"id-{number}" for number in range(12)])
    (fault,) = found.faults
    assert (fault.kind, fault.count, len(fault.examples)) == (FaultKind.IN_NO_QUEUE, 12, 10)
    assert (found.balanced, found.lost) == (False, 12)


def test_books_in_which_nothing_waits_stay_as_they_are() -> None:
    assert with_lost(report(), []) == report()


def test_a_mailing_with_more_ends_than_messages_does_not_hide_a_loss_of_another() -> None:
    assert with_lost(report(-2, 2), []).lost == 2


def test_messages_that_have_an_end_are_not_among_the_unfinished() -> None:
    mail = [ids.derive("mail.intake.shop", 0, offset, 1_700_000_000_000) for offset in range(3)]
    received, search, books = IdBuckets(), DoubleSearch(), Books()
    for each in mail:
        received.add(parse_mail_id(each) or b"")
    kinds = (EventType.DELIVERED, EventType.DEFERRED)
    for each, kind in zip(mail, kinds, strict=False):
        event = Event(f"{each}.1", kind, each, MailEvent(client="shop", mailing_id="news"))
        mail_id = books.add_event(event)
        if mail_id is not None:
            search.add(event, mail_id)
    assert sorted(map(ids.from_bytes, search.unfinished(received))) == sorted(mail[1:])
    assert judge(books, Doubles({}, {}), settled=False).lost == 0
    search.close()
    received.close()
