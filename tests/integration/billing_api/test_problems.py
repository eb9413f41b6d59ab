"""What cannot be is an error with its reason, never an empty table."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.billing.core.usage_api.query import Cursor, encode_cursor
from tests.support.billing.api import CLOSED_MONTH, MONTH, Api, open_api

FOREIGN = encode_cursor(Cursor("0" * 16, ("a",), ("", "", "", "")))


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/usage", 400, "give month=YYYY-MM"),
        ("/v1/usage?month=2026-13", 400, "give YYYY-MM"),
        ("/v1/usage.csv?month=11", 400, "give YYYY-MM"),
        ("/v1/usage?month=2026-12", 400, "2026-12 has not begun"),
        ("/v1/usage?month=2026-09", 400, "nothing was counted before 2026-10"),
        ("/v1/usage?month=9999-12", 400, "has not begun"),
        ("/v1/usage?from=2026-11&to=2026-10", 400, "2026-10 is before 2026-11"),
        ("/v1/usage?from=2026-10", 400, "month"),
        ("/v1/usage?from=1990-10&to=2026-10", 400, "more than 36 months"),
        ("/v1/usage?month=2026-11&from=2026-10&to=2026-11", 400, "either month"),
        ("/v1/usage?month=2026-11&group=colour", 400, "'colour' was found"),
        ("/v1/usage?month=2026-11&limit=0", 400, "limit"),
        ("/v1/usage?month=2026-11&limit=10001", 400, "limit"),
        ("/v1/usage?month=2026-11&wait_s=soon", 400, "wait_s"),
        ("/v1/usage?month=2026-11&wait_s=61", 400, "60"),
        ("/v1/usage?month=2026-11&cursor=x", 400, "cursor"),
        ("/v1/usage?month=2026-11&cursor=%FF", 400, "cursor"),
        (f"/v1/usage?month=2026-11&cursor={FOREIGN}", 400, "belongs to another query"),
        (f"/v1/usage?month=2026-11&group=day&cursor={FOREIGN}", 400, "not a cursor of this API"),
        ("/v1/usage.csv?month=2026-11&columns=focus&group=client", 400, "need the month"),
        ("/v1/usage.csv?month=2026-11&columns=colour", 400, "columns"),
        ("/v1/usage?month=2026-11&client=nobody", 404, "nobody is not registered"),
        ("/v1/usage?month=2026-11&clients=shop", 400, "'clients': no such parameter"),
        ("/v1/usage?month=2026-11&month=2026-10", 400, "month: given 2 times"),
        ("/v1/months/2026-13", 400, "give YYYY-MM"),
        ("/v1/months/2027-01", 400, "has not begun"),
        ("/v1/statements/2026-11", 404, "2026-11 is open"),
        ("/v1/statements/2020-01", 404, "nothing was counted"),
        ("/v1/statements/soon/lines", 400, "give YYYY-MM"),
        ("/v1/nothing", 404, "Not Found"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_answered_with_a_problem(
    api: Api, path: str, status: int, words: str
) -> None:
    found = api.get(path)
    assert (found.status_code, found.json()["status"]) == (status, status)
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers["cache-control"] == "no-store"
    assert words in found.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/usage?month={CLOSED_MONTH}",
        f"/v1/usage.csv?month={CLOSED_MONTH}",
        f"/v1/adjustments?month={CLOSED_MONTH}",
        "/v1/months",
        f"/v1/months/{CLOSED_MONTH}",
        f"/v1/statements/{CLOSED_MONTH}",
        f"/v1/statements/{CLOSED_MONTH}/lines",
    ],
)
def test_until_the_statements_were_read_no_closed_month_is_answered_as_an_open_one(
    api: Api, path: str
) -> None:
    api.close(CLOSED_MONTH)
    api.books.unknown = "the statements are not known yet: /tmp is full"
    found = api.get(path)
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert "/tmp is full" in found.json()["detail"]
    api.books.unknown = ""
    assert api.get(path).status_code == 200


def test_another_method_is_refused(api: Api) -> None:
    found = api.door.post(f"/v1/usage?month={MONTH}", headers=api.keys.make())
    assert (found.status_code, found.json()["detail"]) == (405, "Method Not Allowed")


def test_a_form_that_there_is_not_is_refused(api: Api) -> None:
    headers = {**api.keys.make(), "Accept": "image/png"}
    found = api.get("/v1/usage", headers, month=MONTH)
    assert (found.status_code, "text/csv" in found.json()["detail"]) == (406, True)


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/usage?month={MONTH}",
        f"/v1/usage.csv?month={MONTH}",
        "/v1/months",
        f"/v1/months/{MONTH}",
    ],
)
def test_without_the_store_there_is_no_answer(api: Api, path: str) -> None:
    api.cells.broken = True
    found = api.get(path)
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert "refused" in found.json()["detail"]


def test_without_the_store_closed_months_are_answered_from_their_statements(api: Api) -> None:
    api.close(CLOSED_MONTH)
    api.cells.broken = True
    for path in ("usage", "usage.csv", "months/2026-10", "statements/2026-10/lines"):
        params = {} if "/" in path else {"month": CLOSED_MONTH, "client": "shop"}
        found = api.get(f"/v1/{path}", **params)
        assert found.status_code == 200, path
    assert api.get("/v1/usage", month=CLOSED_MONTH).json()["totals"]["billed"] == 18
    assert api.get("/v1/usage", month=CLOSED_MONTH, client="nobody").status_code == 404
    assert api.get("/v1/adjustments", month=CLOSED_MONTH).status_code == 503


def test_a_registered_client_without_mail_has_an_empty_table(api: Api) -> None:
    with_mail = api.get("/v1/usage", month=CLOSED_MONTH, client="shop")
    assert with_mail.status_code == 200


def test_a_client_that_was_counted_is_known_though_it_is_registered_no_more(tmp_path: Path) -> None:
    with open_api(tmp_path, clients=["new"]) as api:
        assert api.get("/v1/usage", month=MONTH, client="shop").status_code == 200
        found = api.get("/v1/usage", month=MONTH, client="new")
        assert (found.status_code, found.json()["rows"]) == (200, [])


def test_while_the_registry_is_not_known_no_client_is_unknown(tmp_path: Path) -> None:
    with open_api(tmp_path, clients=None) as api:
        assert api.get("/v1/usage", month=MONTH, client="nobody").status_code == 200
