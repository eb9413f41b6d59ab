"""/v1/usage as JSON: rows, filters, grouping, ranges, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from services.billing.core.cells import COUNTERS, Cell
from tests.support.billing.api import CLOSED_MONTH, LOG, MONTH, Api

ALL = ["bank/letters/", "shop/=HYPERLINK(1)/", "shop/news/north", "shop/news/south"]
RULE = {"refused": {"R4": 1}}


def short(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the zeros."""
    return [{name: value for name, value in row.items() if value not in (0, {})} for row in rows]


def test_a_row_has_every_counter_and_its_details(api: Api) -> None:
    found = api.get("/v1/usage", month=MONTH, client="bank").json()
    assert found["rows"] == [
        {
            "month": MONTH,
            "client": "bank",
            "mailing_id": "letters",
            "sub_client": "",
            **dict.fromkeys(COUNTERS, 0),
            "billed": 5,
            "refused": 1,
            "details": {"refused": {"R4": 1}},
        }
    ]
    assert (found["months"], found["next"]) == ([MONTH], None)
    assert found["totals"] == {
        **dict.fromkeys(COUNTERS, 0),
        "billed": 5,
        "refused": 1,
        "details": {"refused": {"R4": 1}},
    }


def test_the_answer_says_of_which_moment_it_is(api: Api) -> None:
    found = api.get("/v1/usage", month=MONTH)
    assert found.headers["sluice-complete"] == "true"
    body = found.json()
    assert (body["complete"], body["reason"], body["lag"]) == (True, "", {"0": 0})
    assert body["as_of"] == {
        "at": "2026-11-15T12:00:00Z",
        "at_ms": 1_794_744_000_000,
        "months": [
            {
                "month": MONTH,
                "status": "open",
                "complete": True,
                "log": LOG,
                "offsets": {"0": 1},
                "lag": {"0": 0},
            }
        ],
    }


def test_an_answer_that_lags_says_so(api: Api) -> None:
    api.ends.ends = {0: 3, 1: 3}
    found = api.get("/v1/usage", month=MONTH)
    assert found.headers["sluice-complete"] == "false"
    body = found.json()
    assert (body["complete"], body["lag"]) == (False, {"0": 2, "1": 3})
    assert "5 records" in body["reason"]


def test_usage_is_answered_without_kafka_but_not_called_complete(api: Api) -> None:
    api.ends.away = "Kafka: no answer"
    found = api.get("/v1/usage", month=MONTH).json()
    assert (found["complete"], found["reason"], len(found["rows"])) == (
        False,
        "Kafka: no answer",
        4,
    )


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({}, ALL),
        ({"client": "shop"}, ["shop/=HYPERLINK(1)/", "shop/news/north", "shop/news/south"]),
        ({"mailing_id": "news"}, ["shop/news/north", "shop/news/south"]),
        ({"client": "shop", "sub_client": "south"}, ["shop/news/south"]),
        ({"sub_client": ""}, ["bank/letters/", "shop/=HYPERLINK(1)/"]),
        ({"client": "bank", "mailing_id": "news"}, []),
        (
            {"client": ""},
            ["bank/letters/", "shop/=HYPERLINK(1)/", "shop/news/north", "shop/news/south"],
        ),
    ],
)
def test_filters_choose_rows_and_their_totals(
    api: Api, filters: dict[str, str], rows: list[str]
) -> None:
    found = api.get("/v1/usage", month=MONTH, **filters).json()
    shown = found["rows"]
    assert [f"{row['client']}/{row['mailing_id']}/{row['sub_client']}" for row in shown] == rows
    assert found["totals"]["billed"] == sum(row["billed"] for row in shown)


@pytest.mark.parametrize(
    ("group", "rows"),
    [
        ("client", [{"client": "bank", "billed": 5, "refused": 1, "details": RULE},
                    {"client": "shop", "billed": 13, "received": 8, "delivered": 2}]),
        ("sub_client,mailing_id", [
            {"mailing_id": "=HYPERLINK(1)", "billed": 6, "sub_client": ""},
            {"mailing_id": "letters", "sub_client": "", "billed": 5, "refused": 1,
             "details": RULE},
            {"mailing_id": "news", "sub_client": "north", "delivered": 2},
            {"mailing_id": "news", "sub_client": "south", "billed": 7, "received": 8},
        ]),
        ("day", [
            {"day": f"{MONTH}-01", "billed": 3, "received": 8, "delivered": 2},
            {"day": f"{MONTH}-02", "billed": 4, "refused": 1, "details": RULE},
            {"day": f"{MONTH}-03", "billed": 5},
            {"day": f"{MONTH}-04", "billed": 6},
        ]),
        ("month", [{"month": MONTH, "billed": 18, "received": 8, "delivered": 2, "refused": 1,
                    "details": RULE}]),
        ("client,day", [
            {"client": "bank", "day": f"{MONTH}-02", "refused": 1, "details": RULE},
            {"client": "bank", "day": f"{MONTH}-03", "billed": 5},
            {"client": "shop", "day": f"{MONTH}-01", "billed": 3, "received": 8, "delivered": 2},
            {"client": "shop", "day": f"{MONTH}-02", "billed": 4},
            {"client": "shop", "day": f"{MONTH}-04", "billed": 6},
        ]),
    ],
)  # fmt: skip
def test_rows_are_grouped_in_a_stable_order(
    api: Api, group: str, rows: list[dict[str, Any]]
) -> None:
    found = api.get("/v1/usage", month=MONTH, group=group).json()
    assert short(found["rows"]) == [
        {name: value for name, value in row.items() if value not in (0, {})} for row in rows
    ]


def test_a_range_has_rows_by_month_or_their_sums(api: Api) -> None:
    span = {"from": CLOSED_MONTH, "to": MONTH}
    by_month = api.get("/v1/usage", group="month", **span).json()
    assert [(row["month"], row["billed"]) for row in by_month["rows"]] == [
        (CLOSED_MONTH, 18),
        (MONTH, 18),
    ]
    assert by_month["totals"]["billed"] == 36
    summed = api.get("/v1/usage", group="client", **span).json()
    assert [(row["client"], row["billed"]) for row in summed["rows"]] == [
        ("bank", 10),
        ("shop", 26),
    ]
    assert summed["rows"][0]["details"] == {"refused": {"R4": 2}}


def test_counts_that_change_are_answered_with_the_next_request(api: Api) -> None:
    before = api.get("/v1/usage", month=MONTH)
    api.count(MONTH, [])
    again = api.get("/v1/usage", month=MONTH)
    assert again.json()["rows"] == before.json()["rows"]
    api.count(MONTH, [(Cell("bank", "letters", "", "billed", "03"), 1)])
    api.clock.go_on(60)
    assert api.get("/v1/usage", month=MONTH, client="bank").json()["rows"][0]["billed"] == 6


def test_a_closed_month_has_the_counts_of_its_statement(api: Api) -> None:
    api.close(CLOSED_MONTH)
    api.count(CLOSED_MONTH, [(Cell("bank", "letters", "", "billed", "03"), 100)])
    api.clock.go_on(60)
    found = api.get("/v1/usage", month=CLOSED_MONTH, client="bank").json()
    assert found["rows"][0]["billed"] == 5
    (standing,) = found["as_of"]["months"]
    assert (standing["status"], standing["offsets"], standing["lag"]) == ("closed", {"0": 4}, {})


def test_counts_of_before_say_of_which_moment_they_are_and_that_newer_ones_come(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that the rest is not counted: it is."""
    api.get("/v1/usage", month=MONTH)
    before = api.shelf.live(MONTH, api.shelf.state())
    monkeypatch.setattr(api.shelf, "live", lambda *_: before)
    api.count(MONTH, [(Cell("shop", "news", "south", "billed", "05"), 9)])
    found = api.get("/v1/usage", month=MONTH).json()
    earlier = f"these are the counts of {found['as_of']['at']}; newer ones are being sorted"
    assert (found["complete"], found["lag"]) == (False, {"0": 0})
    assert found["reason"].startswith(earlier)
    assert "not counted" not in found["reason"]
    shop = api.get("/v1/usage", api.keys.make("shop"), month=MONTH).json()
    assert shop["reason"].startswith(earlier)
    api.ends.ends = {0: 99}
    found = api.get("/v1/usage", month=MONTH).json()
    assert "newer ones are being sorted" in found["reason"]
    assert "not counted yet" in found["reason"]
