"""What the commands on mail.control write."""

import pytest
from msgspec.structs import replace

from cli.control.orders import at, order_line, order_lines
from cli.control.topic import DAY_MS, KEPT_MS, forgotten, in_force, resumption
from cli.options import duration_s
from shared.topics.control import Order, Scope, Verb

NOW = 1_795_467_600_000
SUSPEND = Order(Verb.SUSPEND, Scope(client="shop", lane="bulk"), "ann", "why", NOW - DAY_MS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1_800),
        ("2h", 7_200),
        ("7d", 604_800),
        ("0s", None),
        ("", None),
        ("5", None),
        ("-5m", None),
        ("1h30m", None),
        ("1 h", None),
        ("\u0661h", None),
        ("9999999d", None),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, seconds: int | None) -> None:
    assert duration_s(text) == seconds


def test_resume_ends_the_order_in_force_on_exactly_this_scope() -> None:
    reroute = replace(SUSPEND, verb=Verb.REROUTE, target="h:25", scope=Scope(lane="bulk"))
    found = in_force([SUSPEND, reroute], Scope(lane="bulk"), NOW)
    assert found == reroute
    resume = Order(Verb.RESUME, Scope(lane="bulk"), "bob", "mended", NOW)
    assert resumption(found, resume) == resume


@pytest.mark.parametrize(
    "order",
    [
        replace(SUSPEND, scope=Scope(client="shop")),
        replace(SUSPEND, expires_at_ms=NOW),
        replace(SUSPEND, verb=Verb.RESUME),
    ],
)
def test_no_order_is_in_force_on_another_scope_or_when_it_is_over(order: Order) -> None:
    assert in_force([order], SUSPEND.scope, NOW) is None


@pytest.mark.parametrize(
    ("order", "is_forgotten"),
    [
        (SUSPEND, False),
        (replace(SUSPEND, at_ms=1), False),
        (replace(SUSPEND, at_ms=1, expires_at_ms=NOW - KEPT_MS), False),
        (replace(SUSPEND, at_ms=1, expires_at_ms=NOW - KEPT_MS - 1), True),
        (replace(SUSPEND, verb=Verb.RESUME), False),
        (replace(SUSPEND, verb=Verb.RESUME, at_ms=NOW - KEPT_MS - 1), True),
    ],
)
def test_an_order_that_is_over_stays_on_record_for_a_month(
    order: Order, is_forgotten: bool
) -> None:
    assert forgotten([order], NOW) == ([order] if is_forgotten else [])


def test_what_was_ordered_is_said_in_a_line() -> None:
    timed = replace(SUSPEND, expires_at_ms=NOW)
    assert order_line(timed) == (
        f"suspend: client shop lane bulk, until {at(NOW)}; in force within 2 s"
    )
    reroute = replace(SUSPEND, verb=Verb.REROUTE, target="h:25")
    assert order_line(reroute).startswith("reroute: client shop lane bulk to h:25, until resumed;")


def test_orders_are_listed_with_author_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    heading, row = order_lines([SUSPEND])
    assert heading.split() == ["order", "scope", "to", "since", "until", "author", "reason"]
    assert row.split()[:5] == ["suspend", "client", "shop", "lane", "bulk"]
    assert row.split()[-3:] == ["resumed", "ann", "why"]
    assert order_lines([]) == ["no orders in force"]


def test_in_a_narrow_terminal_each_order_is_a_line_with_its_details_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert order_lines([replace(SUSPEND, reason="the shop asked for it by phone")]) == [
        "order / scope",
        "suspend / client shop lane bulk",
        f"    since {at(NOW - DAY_MS)}, until resumed, author ann,",
        "    reason the shop asked for it by phone",
    ]
