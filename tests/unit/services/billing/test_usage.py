"""What a batch of events adds to each month and mailing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from services.billing.core.answer import CountingProgress, lag, why_incomplete
from services.billing.core.month import Months, is_month
from services.billing.core.recount import Difference, Recount
from services.billing.core.table import as_csv
from services.billing.core.usage import (
    COUNTERS,
    Cell,
    Row,
    count,
    decode_cell,
    encode_cell,
    rows,
)
from shared.audit.conservation import Doubles
from shared.topics.codec import encode_event, encode_tally
from shared.topics.records import EventType, MailEvent, Tally, TallyRow

UTC_MONTHS = Months(UTC)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


NOON = ms("2026-11-15T12:00:00+00:00")


class FakeRecord(Struct):
    headers: Sequence[tuple[str, bytes]]
    value: bytes | None
    timestamp: int = NOON


def event(kind: EventType, client: str = "shop", **fields: object) -> FakeRecord:
    data = msgspec.convert(
        {"client": client, "mailing_id": "news", "at_ms": NOON, **fields}, MailEvent
    )
    _, value, headers = encode_event(kind, "0" * 26, data, "deliver")
    return FakeRecord(headers, value)


def tally(*cells: tuple[str, str, str, int], at_ms: int = NOON) -> FakeRecord:
    told = Tally("validate", at_ms, tuple(TallyRow(*cell) for cell in cells))
    _, value, headers = encode_tally(told, "validate.1.1")
    return FakeRecord(headers, value)


def counted(*records: FakeRecord, months: Months = UTC_MONTHS) -> dict[tuple[str, str], int]:
    """(month, counter) -> count, over all mailings."""
    found: dict[tuple[str, str], int] = {}
    for month, name, number in count(records, months).increments():
        key = month, decode_cell(name).counter
        found[key] = found.get(key, 0) + number
    return found


@pytest.mark.parametrize(
    "kind",
    [
        EventType.DELIVERED,
        EventType.BOUNCED,
        EventType.EXPIRED,
        EventType.CANCELLED,
        EventType.REFUSED,
        EventType.SUPPRESSED,
        EventType.DEFERRED,
        EventType.IN_DOUBT,
    ],
)
def test_each_outcome_is_counted_under_its_own_name(kind: EventType) -> None:
    assert counted(event(kind), event(kind)) == {("2026-11", kind.value): 2}


@pytest.mark.parametrize(
    "kind",
    [
        EventType.DUPLICATE,
        EventType.RETURNED,
        EventType.COMPLAINED,
        EventType.UNSUBSCRIBED,
    ],
)
def test_what_comes_afterwards_is_not_counted(kind: EventType) -> None:
    assert counted(event(kind)) == {}


def test_only_the_event_of_the_first_dispatch_is_billed() -> None:
    first = event(EventType.DEFERRED, first_dispatch=True, first_dispatched_at_ms=NOON)
    later = event(EventType.DELIVERED, first_dispatched_at_ms=NOON)
    assert counted(first, later) == {
        ("2026-11", "billed"): 1,
        ("2026-11", "deferred"): 1,
        ("2026-11", "delivered"): 1,
    }


def test_billed_falls_in_the_month_of_the_dispatch_and_the_outcome_in_its_own() -> None:
    told = event(
        EventType.DELIVERED,
        at_ms=ms("2026-12-01T00:00:01+00:00"),
        first_dispatch=True,
        first_dispatched_at_ms=ms("2026-11-30T23:59:59.999+00:00"),
    )
    assert counted(told) == {("2026-11", "billed"): 1, ("2026-12", "delivered"): 1}


def test_a_first_dispatch_of_a_type_not_counted_is_billed_all_the_same() -> None:
    told = event(EventType.DUPLICATE, first_dispatch=True, first_dispatched_at_ms=NOON)
    assert counted(told) == {("2026-11", "billed"): 1}


@pytest.mark.parametrize(
    ("zone", "at", "month"),
    [
        ("UTC", "2026-10-31T23:59:59.999+00:00", "2026-10"),
        ("UTC", "2026-11-01T00:00:00+00:00", "2026-11"),
        ("Europe/Berlin", "2026-10-31T22:59:59.999+00:00", "2026-10"),
        ("Europe/Berlin", "2026-10-31T23:00:00+00:00", "2026-11"),
        ("Europe/Berlin", "2026-06-30T22:00:00+00:00", "2026-07"),  # summer time
        ("Asia/Kathmandu", "2026-10-31T18:14:59+00:00", "2026-10"),  # 5:45 ahead
        ("Asia/Kathmandu", "2026-10-31T18:15:00+00:00", "2026-11"),
        ("America/Los_Angeles", "2027-01-01T07:59:59+00:00", "2026-12"),
    ],
)
def test_a_month_begins_at_midnight_of_the_zone(zone: str, at: str, month: str) -> None:
    assert Months(ZoneInfo(zone)).of(ms(at)) == month


@given(st.integers(0, 4_102_444_800_000), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]))
def test_the_month_remembered_is_the_month_computed(at_ms: int, zone: str) -> None:
    months = Months(ZoneInfo(zone))
    moment = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    months.of(at_ms - at_ms % 900_000)
    assert months.of(at_ms) == f"{moment.year:04d}-{moment.month:02d}"


@pytest.mark.parametrize("at_ms", [-1, 10**18])
def test_a_time_out_of_range_is_no_month(at_ms: int) -> None:
    with pytest.raises(ValueError, match="not a time"):
        UTC_MONTHS.of(at_ms)


def test_months_and_mailings_do_not_mix() -> None:
    found = count(
        [
            event(EventType.DELIVERED, sub_client="north"),
            event(EventType.DELIVERED, sub_client="south"),
            event(EventType.DELIVERED, client="other"),
            tally(("shop", "news", "north", 7), ("shop", "offers", "", 2)),
        ],
        UTC_MONTHS,
    )
    assert sorted(found.increments()) == sorted(
        ("2026-11", encode_cell(Cell(*cell)), number)
        for cell, number in {
            ("shop", "news", "north", "delivered"): 1,
            ("shop", "news", "south", "delivered"): 1,
            ("other", "news", "", "delivered"): 1,
            ("shop", "news", "north", "received"): 7,
            ("shop", "offers", "", "received"): 2,
        }.items()
    )


@pytest.mark.parametrize(
    ("record", "unreadable"),
    [
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b"{"), 1),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], None), 1),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b'{"client":7}'), 1),
        (FakeRecord([("ce_type", b"sluice.mail.unheard")], b"[]"), 1),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b'{"client":"\xff"}'), 1),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b'{"x":' + b"[" * 100_000), 1),
        (FakeRecord([("ce_type", b"sluice.tally")], b"no"), 1),
        (FakeRecord([("ce_type", b"sluice.tally")], b'{"service":"\xff"}'), 1),
        (FakeRecord([("ce_type", b"sluice.tally")], b'{"x":' + b"[" * 100_000), 1),
        (
            FakeRecord(
                [("ce_type", b"sluice.mail.delivered")],
                b'{"client":"shop","at_ms":1000000000000000000}',
            ),
            1,
        ),
        (
            FakeRecord(
                [("ce_type", b"sluice.tally")],
                b'{"service":"validate","at_ms":1000000000000000000,"rows":[["shop","","",1]]}',
            ),
            1,
        ),
        (FakeRecord([("ce_type", b"sluice.other")], b"{"), 0),
        (FakeRecord([("ce_type", b"com.example.else")], b"{"), 0),
        (FakeRecord([], b"{}"), 0),
        (FakeRecord([], None), 0),
    ],
)
def test_what_cannot_be_read_is_told_and_the_rest_counted(
    record: FakeRecord, unreadable: int
) -> None:
    found = count([record, event(EventType.DELIVERED)], UTC_MONTHS)
    assert found.unreadable == unreadable
    assert [number for _, _, number in found.increments()] == [1]
    again = Recount(UTC_MONTHS)
    again.add(record)
    assert again.months() == []


def test_the_type_is_found_wherever_it_stands_among_the_headers() -> None:
    told = event(EventType.DELIVERED)
    turned = FakeRecord(list(reversed(told.headers)), told.value)
    assert counted(told, turned) == {("2026-11", "delivered"): 2}


def test_an_event_without_a_time_counts_in_the_month_of_its_record() -> None:
    told = event(EventType.DELIVERED, at_ms=0, first_dispatch=True)
    assert counted(told) == {("2026-11", "delivered"): 1, ("2026-11", "billed"): 1}


events = st.builds(
    event,
    st.sampled_from(EventType),
    client=st.sampled_from(["shop", "a,b", 'quote"', "ümlaut"]),
    mailing_id=st.sampled_from(["news", "", "['x']"]),
    sub_client=st.sampled_from(["", "north"]),
    at_ms=st.sampled_from([0, NOON, NOON + 20 * 86_400_000]),
    first_dispatch=st.booleans(),
    first_dispatched_at_ms=st.sampled_from([0, NOON]),
)
tallies = st.builds(
    tally,
    st.tuples(st.sampled_from(["shop", "a,b"]), st.just("news"), st.just(""), st.integers(0, 1000)),
)


@given(st.lists(events | tallies, max_size=30), st.integers(0, 30))
def test_counting_in_two_ways_and_in_two_runs_comes_to_the_same(
    records: list[FakeRecord], cut: int
) -> None:
    cells: dict[str, dict[str, int]] = {}
    for run in (records[:cut], records[cut:]):
        for month, name, number in count(run, UTC_MONTHS).increments():
            of = cells.setdefault(month, {})
            of[name] = of.get(name, 0) + number
    again = Recount(UTC_MONTHS)
    for record in records:
        again.add(record)
    for month in {*cells, *again.months()}:
        assert again.differences(month, cells.get(month, {})) == []


def test_a_recount_names_every_cell_that_differs() -> None:
    again = Recount(UTC_MONTHS)
    again.add(event(EventType.DELIVERED))
    live = {
        encode_cell(Cell("shop", "news", "", "delivered")): 2,
        encode_cell(Cell("shop", "news", "", "billed")): 1,
    }
    assert again.differences("2026-11", live) == [
        Difference("2026-11", "shop", "news", "", "billed", recounted=0, live=1),
        Difference("2026-11", "shop", "news", "", "delivered", recounted=1, live=2),
    ]


def test_a_recount_counts_a_mail_with_two_final_events_once() -> None:
    again = Recount(UTC_MONTHS)
    records = [
        event(EventType.DELIVERED, first_dispatch=True),
        event(EventType.BOUNCED),
        event(EventType.DELIVERED, first_dispatch=True),
        event(EventType.DEFERRED),
    ]
    for record in records:
        again.add(record)
    mail_id = bytes(16)
    for record in records:
        again.discount(record, Doubles({mail_id: 3}, {mail_id: 2}))
    live = {name: number for _, name, number in count(records, UTC_MONTHS).increments()}
    assert [
        (each.counter, each.recounted, each.live) for each in again.differences("2026-11", live)
    ] == [("billed", 1, 2), ("bounced", 0, 1), ("delivered", 1, 2)]


def test_only_doubled_mails_are_discounted() -> None:
    again = Recount(UTC_MONTHS)
    record = event(EventType.DELIVERED, first_dispatch=True)
    again.add(record)
    for _ in range(2):
        again.discount(record, Doubles({bytes(15) + b"x": 2}, {}))
    live = {name: number for _, name, number in count([record], UTC_MONTHS).increments()}
    assert again.differences("2026-11", live) == []


def test_rows_come_in_order_and_only_of_the_client_asked_for() -> None:
    cells = {
        encode_cell(Cell("b", "m", "", "billed")): 2,
        encode_cell(Cell("a", "n", "", "delivered")): 1,
        encode_cell(Cell("a", "m", "s", "received")): 4,
        encode_cell(Cell("a", "m", "s", "billed")): 3,
        encode_cell(Cell("a", "m", "s", "of_a_later_version")): 9,
    }
    assert rows(cells) == [
        Row("a", "m", "s", billed=3, received=4),
        Row("a", "n", "", delivered=1),
        Row("b", "m", "", billed=2),
    ]
    assert rows(cells, "b") == [Row("b", "m", "", billed=2)]


def test_a_row_has_every_counter_in_its_order() -> None:
    assert Row.__struct_fields__[3:] == COUNTERS


def test_csv_quotes_what_needs_it() -> None:
    assert as_csv("2026-11", [Row('a,"b"', "m", "s", billed=3)]).splitlines() == [
        "month,client,mailing_id,sub_client,billed,received,refused,suppressed,delivered,"
        "bounced,expired,cancelled,deferred,in_doubt",
        '2026-11,"a,""b""",m,s,3,0,0,0,0,0,0,0,0,0',
    ]


@pytest.mark.parametrize(
    ("text", "well"),
    [("2026-11", True), ("2026-13", False), ("2026-00", False), ("26-11", False), ("", False)],
)
def test_a_month_is_written_with_year_and_month(text: str, well: bool) -> None:
    assert is_month(text) is well


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (CountingProgress(True, "log", {0: 10, 1: 5}, {}), ""),
        (
            CountingProgress(True, "log", {0: 12, 1: 5}, {}),
            "",
        ),  # counted since the end offsets were read
        (CountingProgress(True, "log", {0: 10, 1: 5}, {0: "2026-10"}), ""),
        (CountingProgress(True, "log", {0: 9, 1: 5}, {}), "1 records of 1 partitions"),
        (CountingProgress(True, "log", {0: 10}, {}), "5 records of 1 partitions"),
        (CountingProgress(True, "", {}, {}), "15 records of 2 partitions"),
        (CountingProgress(False, "log", {0: 10, 1: 5}, {}), "lost"),
        (CountingProgress(True, "older", {0: 10, 1: 5}, {}), "another log"),
        (CountingProgress(True, "log", {0: 10, 1: 5}, {1: "2026-11"}), "deleted"),
        (CountingProgress(True, "log", {0: 10, 1: 5}, {1: "2026-12"}), "deleted"),
    ],
)
def test_an_answer_that_is_not_whole_says_why(standing: CountingProgress, words: str) -> None:
    reason = why_incomplete(standing, "2026-11", "log", {0: 10, 1: 5})
    assert bool(reason) is bool(words)
    assert words in reason


def test_lag_is_told_for_every_partition() -> None:
    assert lag(CountingProgress(True, "log", {0: 10, 2: 9}, {}), {2: 8, 0: 12, 1: 3}) == {
        0: 2,
        1: 3,
        2: 0,
    }
