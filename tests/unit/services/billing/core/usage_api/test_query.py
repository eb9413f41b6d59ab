"""What a usage request may ask for, and which text it gets for what it may not."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.usage_api.query import (
    DEFAULT_GROUP,
    MAX_CURSOR_CHARS,
    MAX_MONTHS,
    Cursor,
    Filters,
    Query,
    QueryFault,
    decode_cursor,
    encode_cursor,
    months_between,
    parse_group,
    require_known_month,
)
from shared.access.keys import Scope

QUERY = Query(("2026-01",), Filters("shop"))
CURSOR = Cursor(QUERY.digest(), ("view",), ("2026-01", "shop", "news", "north"))
FOREIGN = "cursor: it is not a cursor of this API"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("2026-07", "", ""), ("2026-07",)),
        (("", "2026-07", "2026-07"), ("2026-07",)),
        (("", "2025-11", "2026-02"), ("2025-11", "2025-12", "2026-01", "2026-02")),
    ],
)
def test_one_month_or_a_range_is_asked_for(
    asked: tuple[str, str, str], found: tuple[str, ...]
) -> None:
    assert months_between(*asked) == found


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (("2026-07", "2026-01", ""), "month: give either month, or from and to"),
        (("", "", ""), "month: nothing was found"),
        (("", "2026-01", ""), "month: nothing was found"),
        (("2026-13", "", ""), "month: '2026-13' is not a month"),
        (("0001-01", "", ""), "month: '0001-01' is not a month"),
        (("", "2026-1", "2026-02"), "from: '2026-1' is not a month"),
        (("", "2026-01", "July"), "to: 'July' is not a month"),
        (("", "2026-02", "2026-01"), "to: 2026-01 is before 2026-02"),
        (("", "2020-01", "2023-01"), f"to: 2023-01 is more than {MAX_MONTHS} months after"),
        (("", "1900-01", "9999-12"), f"to: 9999-12 is more than {MAX_MONTHS} months after"),
    ],
)
def test_other_months_are_refused_with_the_parameter_named(
    asked: tuple[str, str, str], fault: str
) -> None:
    with pytest.raises(QueryFault, match=f"^{re.escape(fault)}"):
        months_between(*asked)


def test_a_range_may_have_as_many_months_as_the_limit() -> None:
    assert len(months_between("", "2020-01", "2022-12")) == MAX_MONTHS


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("", DEFAULT_GROUP),
        ("day,month", ("month", "day")),
        ("client,client", ("client",)),
    ],
)
def test_a_grouping_is_put_in_the_order_of_rows(text: str, group: tuple[str, ...]) -> None:
    assert parse_group(text) == group


@pytest.mark.parametrize("text", ["week", "month,", " month", "Month"])
def test_an_unknown_key_of_a_grouping_is_refused(text: str) -> None:
    with pytest.raises(QueryFault, match=r"^group: .* was found, some of month, client"):
        parse_group(text)


def test_a_cursor_comes_back_as_it_was_given() -> None:
    assert decode_cursor(encode_cursor(CURSOR), QUERY) == CURSOR


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (Query(("2026-02",), Filters("shop")), "cursor: it belongs to another query"),
        (Query(("2026-01",), Filters("other")), "cursor: it belongs to another query"),
        (Query(("2026-01", "2026-02"), Filters("shop")), FOREIGN),
        (Query(("2026-01",), Filters("shop"), ("month",)), FOREIGN),
    ],
)
def test_a_cursor_of_another_query_is_refused(other: Query, fault: str) -> None:
    with pytest.raises(QueryFault, match=f"^{fault}$"):
        decode_cursor(encode_cursor(CURSOR), other)


NOT_CURSORS = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40).map(lambda octets: base64.urlsafe_b64encode(octets).decode()),
    st.just(base64.urlsafe_b64encode(b"[" * 4_000).decode()),
    st.just("A" * (MAX_CURSOR_CHARS + 1)),
)


@given(NOT_CURSORS)
def test_whatever_is_sent_as_a_cursor_is_refused_and_raises_nothing_else(text: str) -> None:
    with pytest.raises(QueryFault, match=r"^cursor: "):
        decode_cursor(text, QUERY)


@pytest.mark.parametrize(
    ("months", "counted", "fault"),
    [
        (("2026-08",), ("2026-01",), "2026-08 has not begun; the present month is 2026-07"),
        (("2025-12",), ("2026-01",), "nothing was counted before 2026-01; 2025-12 was found"),
        (("2026-06",), (), "nothing was counted before 2026-07; 2026-06 was found"),
    ],
)
def test_a_month_that_was_not_counted_is_refused(
    months: tuple[str, ...], counted: tuple[str, ...], fault: str
) -> None:
    with pytest.raises(QueryFault, match=f"^month: {fault}$"):
        require_known_month(months, counted, "2026-07")
    require_known_month(("2026-07",), counted, "2026-07")


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        (Scope("", None), Filters("shop", "news", "north")),
        (Scope("shop", None), Filters("shop", "news", "north")),
        (Scope("shop", "north"), Filters("shop", "news", "north")),
        (Scope("mine", ""), Filters("mine", "news", "")),
    ],
)
def test_filters_are_limited_to_the_scope_of_the_key(scope: Scope, found: Filters) -> None:
    assert Filters("shop", "news", "north").within(scope) == found
