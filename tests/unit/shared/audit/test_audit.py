"""The conservation equation: it balances for correct counts, and every kind of fault is found."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.audit.conservation import Books, Doubles, judge, parse_mail_id
from shared.audit.doubles import IdBuckets
from shared.audit.report import BookRow, FaultKind, Report
from shared.topics import ids
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import Event, EventType, MailEvent

MAIL = [ids.derive("mail.intake.shop", 0, offset, 1_700_000_000_000) for offset in range(10)]
NO_DOUBLES = Doubles({}, {})


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
