"""Pages of JSON, ETags, and what never changes."""

from __future__ import annotations

from typing import Any

import pytest

from services.billing.core.cells import Cell
from tests.support.billing.api import CLOSED_MONTH, MONTH, Api


def pages(api: Api, limit: int, **params: Any) -> list[dict[str, Any]]:
    """All pages."""
    found = [api.get("/v1/usage", limit=limit, **params).json()]
    while found[-1]["next"]:
        found.append(api.get("/v1/usage", limit=limit, cursor=found[-1]["next"], **params).json())
    return found


@pytest.mark.parametrize(
    "group", ["", "client", "day", "month", "client,day", "mailing_id", "month,day"]
)
@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("span", [{"month": MONTH}, {"from": CLOSED_MONTH, "to": MONTH}])
def test_pages_together_are_the_whole_answer(
    api: Api, group: str, limit: int, span: dict[str, str]
) -> None:
    (whole,) = pages(api, 10_000, group=group, **span)
    parts = pages(api, limit, group=group, **span)
    assert [row for page in parts for row in page["rows"]] == whole["rows"]
    assert {page["totals"]["billed"] for page in parts} == {whole["totals"]["billed"]}
    assert all(len(page["rows"]) <= limit for page in parts)


def test_all_pages_are_of_one_moment(api: Api) -> None:
    first = api.get("/v1/usage", month=MONTH, limit=1).json()
    api.count(MONTH, [(Cell("shop", "news", "south", "billed", "02"), 100)])
    api.clock.go_on(60)
    assert api.get("/v1/usage", month=MONTH).json()["totals"]["billed"] == 118
    rest = api.get("/v1/usage", month=MONTH, limit=100, cursor=first["next"]).json()
    assert sum(row["billed"] for row in first["rows"] + rest["rows"]) == 18
    assert rest["totals"] == first["totals"]


def test_a_cursor_of_counts_that_are_gone_is_a_conflict(api: Api) -> None:
    first = api.get("/v1/usage", month=MONTH, limit=1).json()
    api.count(MONTH, [(Cell("shop", "news", "south", "billed", "02"), 100)])
    api.shelf.close()  # as in another process
    found = api.get("/v1/usage", month=MONTH, limit=1, cursor=first["next"])
    assert (found.status_code, found.json()["status"]) == (409, 409)


def test_an_answer_is_not_sent_twice(api: Api) -> None:
    headers = api.keys.make()
    first = api.get("/v1/usage", headers, month=MONTH)
    assert first.headers["cache-control"] == "private, no-cache"
    etag = first.headers["etag"]
    known = {**headers, "If-None-Match": f'"x", {etag}'}
    again = api.get("/v1/usage", known, month=MONTH)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    api.count(MONTH, [(Cell("shop", "news", "south", "billed", "02"), 1)])
    api.clock.go_on(60)
    assert api.get("/v1/usage", known, month=MONTH).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/usage", "/v1/usage.csv", "/v1/usage.xlsx", "/v1/usage.parquet"]
)
def test_different_bytes_have_different_etags(api: Api, path: str) -> None:
    found = {
        api.get(where, headers, month=MONTH, **params).headers["etag"]
        for where in {path, "/v1/usage"}
        for headers in (api.keys.make(), api.keys.make("shop"))
        for params in ({}, {"group": "day"}, {"limit": "1"})
    }
    assert len(found) == (6 if path == "/v1/usage" else 12)


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/usage?month={CLOSED_MONTH}",
        f"/v1/usage.csv?month={CLOSED_MONTH}",
        f"/v1/months/{CLOSED_MONTH}",
        f"/v1/statements/{CLOSED_MONTH}",
        f"/v1/statements/{CLOSED_MONTH}/lines",
    ],
)
def test_what_is_closed_is_immutable(api: Api, path: str) -> None:
    api.close(CLOSED_MONTH)
    first = api.get(path)
    assert "immutable" in first.headers["cache-control"]
    api.count(CLOSED_MONTH, [(Cell("shop", "news", "south", "billed", "02"), 100)])
    api.ends.ends = {0: 99}
    api.clock.go_on(3_600)
    again = api.get(path)
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    headers = {**api.keys.make(), "If-None-Match": first.headers["etag"]}
    assert api.get(path, headers).status_code == 304


def test_a_range_with_an_open_month_is_not_immutable(api: Api) -> None:
    api.close(CLOSED_MONTH)
    found = api.get("/v1/usage", **{"from": CLOSED_MONTH, "to": MONTH})
    assert "immutable" not in found.headers["cache-control"]
