"""As many mail ids are listed as were counted, for every cell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from services.billing.core.cells import BILLED, COUNTERS, decode_cell
from services.billing.core.month import Months
from services.billing.core.usage import count
from services.billing.core.usage_messages import KINDS, Wanted, listed
from shared.topics.codec import encode_event
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
beyond_time = st.builds(
    Found,
    st.just([("ce_type", b"sluice.mail.delivered")]),
    st.just(b'{"client": "shop", "at_ms": 4611686018427387904}'),
)
broken = st.builds(
    Found,
    st.sampled_from([[("ce_type", b"sluice.mail.delivered")], [("ce_type", b"other")], []]),
    st.sampled_from([None, b"{", b"[]", b'{"client": 1}']),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(events, broken, beyond_time), max_size=30))
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
        found = [each for each in records if listed(each, wanted, MONTHS)]
        assert len(found) == number, (month, cell)
    for month, kind in product({month for month, _ in cells}, KINDS):
        total = sum(
            number
            for (of, cell), number in cells.items()
            if (of, cell.counter, cell.detail) == (month, kind, "")
        )
        assert sum(bool(listed(each, Wanted(month, kind), MONTHS)) for each in records) == total


def test_a_listed_mail_says_where_it_was_counted() -> None:
    found = listed(
        record(EventType.REFUSED, "01C", sub_client="south", rules=(Violation("R4", "x"),)),
        Wanted("2026-10", "refused", detail="R4"),
        MONTHS,
    )
    assert found is not None
    assert (found.mail_id, found.day, found.client) == ("01C", "2026-10-15", "shop")
    assert (found.kind, found.detail, found.sub_client) == ("refused", "R4", "south")


def test_every_counter_of_events_can_be_listed() -> None:
    assert set(COUNTERS) - set(KINDS) == {"received", "bytes"}
    assert BILLED in KINDS
