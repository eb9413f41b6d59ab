"""The conservation equation: it balances for correct counts, and every kind of fault is found."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import Event, EventType, MailEvent

MAIL = [ids.derive("mail.intake.shop", 0, offset, 1_700_000_000_000) for offset in range(10)]
NO_DOUBLES = Doubles({}, {})
ENDS = {"mail.received/0": 7, "mail.outbound.default/0": 9}
EMPTY = QueueLook(ENDS, 0, is_certain=True)
MOVED = QueueLook({**ENDS, "mail.received/0": 8}, 0, is_certain=True)


def event(kind: EventType, mail_id: str, client: str = "shop", **fields: Any) -> Event:
    data = msgspec.convert({"client": client, "mailing_id": "news", **fields}, MailEvent)
    return Event(f"{mail_id}.{kind.value}.1", kind, mail_id, data)


def tally(received: int, client: str = "shop") -> Tally:
    return Tally("validate", 0, (TallyRow(client, "news", "", received),))


def report(*told: Event | Tally, settled: bool = False, cut: tuple[int, ...] = ()) -> Report:
    """Judge as `sluice audit` does, with its search for duplicates."""
    books, finals, dispatches = Books(), IdBuckets(), IdBuckets()
    for each in told:
        if isinstance(each, Tally):
            books.add_tally(each)
            continue
        mail_id = books.add_event(each)
        if mail_id is not None and each.type is not EventType.DEFERRED:
            finals.add(mail_id)
        if mail_id is not None and each.data.first_dispatch:
            dispatches.add(mail_id)
    doubles = Doubles(dict(finals.doubled()), dict(dispatches.doubled()))
    return judge(books, doubles, settled, cut)


FINALS = [
    EventType.REFUSED,
    EventType.SUPPRESSED,
    EventType.DELIVERED,
    EventType.BOUNCED,
    EventType.EXPIRED,
    EventType.CANCELLED,
]


def test_books_balance_when_every_message_has_one_fate() -> None:
    told = [event(kind, mail) for kind, mail in zip(FINALS, MAIL, strict=False)]
    found = report(tally(6), *told, settled=True)
    assert found.balanced
    assert found.rows == [BookRow("shop", "news", "", 6, 1, 1, 1, 1, 1, 1, 0)]
    assert (found.received, found.finals, found.waiting) == (6, 6, 0)


@pytest.mark.parametrize(
    ("after", "held", "waiting"),
    [
        ([], 1, 0),
        ([EventType.DEFERRED], 0, 1),
        ([EventType.DELIVERED], 0, 0),
        ([EventType.CANCELLED], 0, 0),
        ([EventType.RETURNED], 1, 0),
    ],
)
def test_a_message_is_held_until_its_next_attempt_or_end(
    after: list[EventType], held: int, waiting: int
) -> None:
    told = [event(kind, MAIL[0]) for kind in after]
    found = report(tally(1), event(EventType.IN_DOUBT, MAIL[0], held=True), *told)
    assert (found.held, found.waiting, found.rows[0].held) == (held, waiting, held)
    # Nothing but an operator's decision is missing: it is settled.
    settled = report(tally(1), event(EventType.IN_DOUBT, MAIL[0], held=True), *told, settled=True)
    assert settled.balanced is (waiting == 0)


def test_events_on_the_way_are_no_fate() -> None:
    way = [EventType.DEFERRED, EventType.IN_DOUBT, EventType.DUPLICATE, EventType.RETURNED]
    found = report(tally(1), *(event(kind, MAIL[0]) for kind in way))
    assert found.balanced
    assert found.waiting == 1


@pytest.mark.parametrize(
    ("told", "settled", "fault"),
    [
        ([tally(2), event(FINALS[2], MAIL[0])], True, FaultKind.MISSING),
        ([tally(1), *(event(FINALS[2], mail) for mail in MAIL[:2])], False, FaultKind.OVERDRAWN),
        ([event(FINALS[2], MAIL[0])], False, FaultKind.UNTALLIED),
        ([tally(2), *(event(FINALS[2], MAIL[0]),) * 2], True, FaultKind.DOUBLED_FINAL),
        (
            [tally(2), event(FINALS[2], MAIL[0]), event(FINALS[3], MAIL[0])],
            False,
            FaultKind.DOUBLED_FINAL,
        ),
        (
            [
                tally(1),
                event(EventType.DEFERRED, MAIL[0], first_dispatch=True),
                event(EventType.DELIVERED, MAIL[0], first_dispatch=True),
            ],
            True,
            FaultKind.DOUBLED_DISPATCH,
        ),
        ([tally(1), event(FINALS[2], "not-a-mail-id")], True, FaultKind.STRANGE_ID),
    ],
)
def test_each_kind_of_fault_is_found_alone(
    told: list[Event | Tally], settled: bool, fault: FaultKind
) -> None:
    found = report(*told, settled=settled)
    assert not found.balanced
    assert [each.kind for each in found.faults] == [fault]
    assert found.faults[0].count == 1


def test_a_message_missing_is_no_fault_while_it_may_wait() -> None:
    assert report(tally(2), event(EventType.DELIVERED, MAIL[0])).balanced


def test_one_mailing_does_not_pay_for_another() -> None:
    found = report(tally(2), tally(0, "other"), event(EventType.DELIVERED, MAIL[0], client="other"))
    assert [each.kind for each in found.faults] == [FaultKind.UNTALLIED]
    assert [row.waiting for row in found.rows] == [-1, 2]


def test_a_log_cut_at_its_beginning_cannot_be_audited() -> None:
    found = report(tally(1), cut=(3,))
    assert [(each.kind, each.examples) for each in found.faults] == [
        (FaultKind.CUT_LOG, ["partition 3"])
    ]


def test_doubles_are_told_by_their_mail_ids() -> None:
    found = report(tally(3), *(event(EventType.DELIVERED, MAIL[4]),) * 3)
    assert found.faults[0].examples == [MAIL[4]]
    assert found.faults[0].count == 2


@given(st.integers(0, 2**128 - 1))
def test_a_mail_id_is_sixteen_bytes_and_back(number: int) -> None:
    text = ids.encode(number)
    found = parse_mail_id(text)
    assert found == number.to_bytes(16, "big")
    assert ids.from_bytes(found) == text


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "I" * 26, "0" * 25 + "u", "0_0" + "0" * 23, "Z" * 26, "٣" * 26]
)
def test_what_is_no_mail_id_is_told_so(text: str) -> None:
    assert parse_mail_id(text) is None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), max_size=60), st.sampled_from([16, 160, 1 << 20]))
def test_buckets_find_what_a_count_finds_whether_or_not_they_spill(
    numbers: list[int], memory_bytes: int
) -> None:
    buckets = IdBuckets(memory_bytes)
    try:
        for number in numbers:
            buckets.add(number.to_bytes(16, "big"))
        found = {int.from_bytes(each, "big"): times for each, times in buckets.doubled()}
    finally:
        buckets.close()
    assert found == {each: numbers.count(each) for each in numbers if numbers.count(each) > 1}


def test_a_fault_names_only_a_few_of_many() -> None:
    books = Books()
    many = {number.to_bytes(16, "big"): 2 for number in range(1000)}
    found = judge(books, Doubles(many, {}), settled=False)
    assert found.faults[0].count == 1000
    assert len(found.faults[0].examples) == 10


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


def waiting_report(*waiting: int) -> Report:
    rows = [BookRow("shop", f"M-{n}", "", n, 0, 0, 0, 0, 0, 0, n) for n in waiting]
    return Report(True, False, 9, 20, 20 - sum(waiting), sum(waiting), 0, rows, [])


def test_lost_messages_are_a_fault_with_at_most_ten_mail_ids() -> None:
    found = with_lost(waiting_report(3, 9), [f"id-{number}" for number in range(12)])
    (fault,) = found.faults
    assert (fault.kind, fault.count, len(fault.examples)) == (FaultKind.IN_NO_QUEUE, 12, 10)
    assert (found.balanced, found.lost) == (False, 12)


def test_books_in_which_nothing_waits_stay_as_they_are() -> None:
    assert with_lost(waiting_report(), []) == waiting_report()


def test_a_mailing_with_more_ends_than_messages_does_not_hide_a_loss_of_another() -> None:
    assert with_lost(waiting_report(-2, 2), []).lost == 2


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
