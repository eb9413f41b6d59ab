"""As many mail ids are listed as were counted, for every cell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from services.billing.core.cells import BILLED, COUNTERS, RECEIVED, Cell, decode_cell
from services.billing.core.month import Months
from services.billing.core.usage import count
from services.billing.core.usage_api.query import QueryFault
from services.billing.core.usage_messages import (
    COLUMNS,
    KINDS,
    Unnamed,
    Wanted,
    listed,
    named_of,
    require_listable,
    row_of,
)
from shared.stream.outputs import tallies
from shared.topics.codec import encode_event, encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import EventType, MailEvent, Violation

MONTHS = Months(UTC)
DAY_MS = 86_400_000
OCTOBER_MS = 1_792_065_600_000


class Found(Struct):
    """A record as it is read."""

    headers: Sequence[tuple[str, bytes]]
    value: bytes | None
    timestamp: int = OCTOBER_MS


def record(kind: EventType, mail_id: str = "01A", **fields: Any) -> Found:
    data = MailEvent(**{"client": "shop", "mailing_id": "news", "at_ms": OCTOBER_MS, **fields})
    _, value, headers = encode_event(kind, mail_id, data, "deliver")
    return Found(headers, value)


events = st.builds(
    record,
    st.sampled_from(EventType),
    st.sampled_from(["01A", "01B"]),
    client=st.sampled_from(["shop", "bank"]),
    mailing_id=st.sampled_from(["news", ""]),
    sub_client=st.sampled_from(["south", ""]),
    at_ms=st.sampled_from([0, OCTOBER_MS, OCTOBER_MS + DAY_MS, OCTOBER_MS + 30 * DAY_MS]),
    first_dispatch=st.booleans(),
    first_dispatched_at_ms=st.sampled_from([0, OCTOBER_MS - DAY_MS, OCTOBER_MS]),
    bounce_class=st.sampled_from(["", "hard", "no word"]),
    rules=st.sampled_from(
        [(), (Violation("R1", "a"), Violation("R2", "b")), (Violation("é", "x"),)]
    ),
)


def tally_of(*received: tuple[str, str, str, tuple[str, ...]], at_ms: int = OCTOBER_MS) -> Found:
    (output,) = tallies("validate", "t", at_ms, {each[:3]: each[3] for each in received})
    return Found(output.headers, output.value)


tallied = st.builds(
    lambda received, at_ms: tally_of(*((*key, ids) for key, ids in received.items()), at_ms=at_ms),
    st.dictionaries(
        st.tuples(
            st.sampled_from(["shop", "bank"]),
            st.sampled_from(["news", ""]),
            st.sampled_from(["south", ""]),
        ),
        st.lists(st.sampled_from(["01A", "01B", "01C"]), min_size=1, max_size=4).map(tuple),
        min_size=1,
    ),
    st.sampled_from([0, OCTOBER_MS, OCTOBER_MS + DAY_MS, OCTOBER_MS + 30 * DAY_MS]),
)
beyond_time = st.builds(
    Found,
    st.just([("ce_type", b"sluice.mail.delivered")]),
    st.just(b'{"client": "shop", "at_ms": 4611686018427387904}'),
)
broken = st.builds(
    Found,
    st.sampled_from(
        [
            [("ce_type", b"sluice.mail.delivered")],
            [("ce_type", b"sluice.tally")],
            [("ce_type", b"other")],
            [],
        ]
    ),
    st.sampled_from([None, b"{", b"[]", b'{"client": 1}']),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(events, tallied, broken, beyond_time), max_size=30))
def test_as_many_are_listed_as_are_counted(records: list[Found]) -> None:
    counted = count(records, MONTHS)
    cells = {
        (month, decode_cell(name)): number
        for month, name, number in counted.increments()
        if decode_cell(name).counter in KINDS
    }
    for (month, cell), number in cells.items():
        wanted = Wanted(
            month,
            cell.counter,
            f"{month}-{cell.day}",
            cell.client,
            cell.mailing_id,
            cell.sub_client,
            cell.detail,
        )
        found = [mail for each in records for mail in listed(each, wanted, MONTHS)]
        assert len(found) == number, (month, cell)
    for month, kind in product({month for month, _ in cells}, KINDS):
        total = sum(
            number
            for (of, cell), number in cells.items()
            if (of, cell.counter, cell.detail) == (month, kind, "")
        )
        found = [mail for each in records for mail in listed(each, Wanted(month, kind), MONTHS)]
        assert len(found) == total
        shop = Wanted(month, kind, client="shop")
        assert sum(len(list(listed(each, shop, MONTHS))) for each in records) == sum(
            number for (of, cell), number in cells.items() if of == month and shop.has(cell)
        )


def test_a_listed_mail_says_where_it_was_counted() -> None:
    (found,) = listed(
        record(EventType.REFUSED, "01C", sub_client="south", rules=(Violation("R4", "x"),)),
        Wanted("2026-10", "refused", detail="R4"),
        MONTHS,
    )
    assert (found.mail_id, found.day, found.client) == ("01C", "2026-10-15", "shop")
    assert (found.kind, found.detail, found.sub_client) == ("refused", "R4", "south")


def test_received_mail_is_listed_from_tallies_as_far_as_they_name_it() -> None:
    named = tally_of(("shop", "news", "", ("01A", "01B")), ("bank", "news", "", ("01C",)))
    wanted = Wanted("2026-10", RECEIVED, client="shop")
    assert [
        (each.mail_id, each.day, each.client, each.size_bytes)
        for each in listed(named, wanted, MONTHS)
    ] == [("01A", "2026-10-15", "shop", 0), ("01B", "2026-10-15", "shop", 0)]
    assert list(listed(named, Wanted("2026-09", RECEIVED), MONTHS)) == []
    assert list(listed(named, Wanted("2026-10", "delivered"), MONTHS)) == []
    _, value, headers = encode_tally(
        Tally("validate", OCTOBER_MS, (TallyRow("shop", "news", "", 3),)), "t"
    )
    unnamed = Unnamed()
    assert list(listed(Found(headers, value), wanted, MONTHS, unnamed)) == []
    assert list(listed(named, wanted, MONTHS, unnamed))
    assert list(listed(Found(headers, value), Wanted("2026-09", RECEIVED), MONTHS, unnamed)) == []
    assert unnamed.number == 3


def test_every_counter_of_mails_can_be_listed() -> None:
    assert set(COUNTERS) - set(KINDS) == {"bytes"}
    assert BILLED in KINDS


WANTED = Wanted("2026-02", "refused", "2026-02-28", "shop", "news", "south")


@pytest.mark.parametrize(
    ("changes", "is_in"),
    [
        ({}, True),
        ({"day": ""}, False),  # from before there were days
        ({"day": "27"}, False),
        ({"client": "bank"}, False),
        ({"mailing_id": "other"}, False),
        ({"sub_client": ""}, False),
        ({"counter": "bounced"}, False),
        ({"detail": "R4"}, False),  # a part of the number, which is counted once
    ],
)
def test_a_cell_is_in_a_number_if_everything_that_was_asked_for_is_equal(
    changes: dict[str, str], is_in: bool
) -> None:
    cell = Cell("shop", "news", "south", "refused", "28")
    assert WANTED.has(replace(cell, **changes)) == is_in
    assert Wanted("2026-02", "refused").has(replace(cell, client="any", day="01"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"day": ""}, None),
        ({"detail": "R4"}, None),
        ({"kind": "billed"}, None),
        ({"month": "2026-13"}, "month: '2026-13' is not a month; give YYYY-MM"),
        ({"kind": "received"}, None),
        ({"kind": "bytes"}, "kind: 'bytes' was found, one of billed,"),
        ({"kind": "delivered", "detail": "R4"}, "detail: only refused, .* have details"),
        ({"day": "2026-02-29"}, "day: '2026-02-29' is not a day of 2026-02; give YYYY-MM-DD"),
        ({"day": "2026-02-00"}, "is not a day of 2026-02"),
        ({"day": "2026-03-01"}, "is not a day of 2026-02"),
        ({"day": "2026-02-1"}, "is not a day"),
        ({"day": "2026-02-+1"}, "is not a day"),
        ({"day": "2026-02-١١"}, "is not a day"),
        ({"day": "28"}, "is not a day"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_what_was_found_and_what_is_expected(
    changes: dict[str, str], said: str | None
) -> None:
    wanted = replace(WANTED, **changes)
    if said is None:
        require_listable(wanted)
    else:
        with pytest.raises(QueryFault, match=said):
            require_listable(wanted)


def test_a_listed_mail_is_a_row_with_the_columns_of_the_file() -> None:
    refused = record(EventType.REFUSED, "01C", size_bytes=7, rules=(Violation("R4", "x"),))
    (found,) = listed(refused, Wanted("2026-10", "refused"), MONTHS)
    row = ("01C", "2026-10-15T12:00:00Z", "2026-10-15", "shop", "news", "", "refused", "R4", 7)
    assert row_of(found) == row
    assert named_of(found) == dict(zip(COLUMNS, row, strict=True))
