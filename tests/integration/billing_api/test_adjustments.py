"""/v1/adjustments: what was counted for closed months, and waits for the next statement."""

from __future__ import annotations

import csv
import io
import threading
from pathlib import Path
from typing import Any

import pytest

from services.billing.core.cells import Cell
from tests.support.billing.api import CLOSED_MONTH, MONTH, Api, open_api
from tests.support.patience import PATIENCE_S

LATE = Cell("shop", "news", "south", "billed", "30")


def waiting(api: Api, **params: Any) -> Any:
    found = api.get("/v1/adjustments", month=CLOSED_MONTH, **params)
    assert found.status_code == 200, found.text
    return found.json()


def test_what_is_counted_after_the_close_waits_until_the_next_statement_has_it(api: Api) -> None:
    api.close(CLOSED_MONTH)
    found = waiting(api)
    assert (found["rows"], found["totals"]["billed"], found["complete"]) == ([], 0, True)
    api.count(CLOSED_MONTH, [(LATE, 2)])
    found = waiting(api, group="client,day")
    (row,) = found["rows"]
    assert (row["client"], row["day"], row["billed"]) == ("shop", f"{CLOSED_MONTH}-30", 2)
    assert {each["status"] for each in found["as_of"]["months"]} == {"closed"}
    assert (
        "immutable" not in api.get("/v1/adjustments", month=CLOSED_MONTH).headers["cache-control"]
    )
    # The statement says what it said.
    assert api.get("/v1/usage", month=CLOSED_MONTH).json()["totals"]["billed"] == 18
    closed = api.close(MONTH)
    assert closed.statement.adjusted == {"billed": 2}
    assert waiting(api)["rows"] == []
    api.count(CLOSED_MONTH, [(LATE, 5)])
    assert waiting(api)["totals"]["billed"] == 5


def test_while_they_are_compared_what_a_new_statement_has_does_not_wait_once_more(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.close(CLOSED_MONTH)
    api.count(CLOSED_MONTH, [(LATE, 2)])
    assert waiting(api)["totals"]["billed"] == 2
    api.close(MONTH)  # states the two
    begun, go_on = threading.Event(), threading.Event()
    read = api.cells.reading

    def reading_slowly(*months: str) -> Any:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return read(*months)

    monkeypatch.setattr(api.cells, "reading", reading_slowly)
    answers = list[Any]()
    first = threading.Thread(target=lambda: answers.append(waiting(api)))
    first.start()
    try:
        assert begun.wait(PATIENCE_S)
        second = api.get("/v1/adjustments", month=CLOSED_MONTH)
    finally:
        go_on.set()
        first.join(PATIENCE_S)
    assert (second.status_code, second.headers["retry-after"]) == (503, "5")
    assert "being compared" in second.json()["detail"]
    assert answers[0]["totals"]["billed"] == 0


def test_a_rebuild_that_counts_less_waits_as_a_negative_number(api: Api) -> None:
    api.count(CLOSED_MONTH, [(LATE, 4)])
    api.close(CLOSED_MONTH)
    api.count(CLOSED_MONTH, [(LATE, -3)])
    (row,) = waiting(api)["rows"]
    assert (row["mailing_id"], row["billed"]) == ("news", -3)


def test_counts_that_are_behind_say_so(api: Api) -> None:
    api.close(CLOSED_MONTH)
    api.count(CLOSED_MONTH, [(LATE, 2)])
    api.ends.ends = {0: 99}
    found = waiting(api)
    assert (found["complete"], "not counted yet" in found["reason"]) == (False, True)


def test_they_come_in_every_form_with_their_own_name(api: Api) -> None:
    api.close(CLOSED_MONTH)
    api.count(CLOSED_MONTH, [(LATE, 2)])
    found = api.get("/v1/adjustments.csv", month=CLOSED_MONTH)
    assert f"usage-{CLOSED_MONTH}-adjustments.csv" in found.headers["content-disposition"]
    names, row = csv.reader(io.StringIO(found.text))
    assert dict(zip(names, row, strict=True))["billed"] == "2"
    for suffix in ("json", "xlsx", "parquet"):
        assert api.get(f"/v1/adjustments.{suffix}", month=CLOSED_MONTH).status_code == 200


def adjusted(api: Api, key: dict[str, str] | None = None, **params: Any) -> Any:
    return api.get("/v1/adjustments", key, statement=MONTH, **params)


def test_what_a_statement_adjusts_is_there_for_each_key_and_never_changes(api: Api) -> None:
    api.close(CLOSED_MONTH)
    other = Cell("bank", "letters", "", "bounced", "31")
    api.count(CLOSED_MONTH, [(LATE, 2), (other, 3)])
    api.count("2025-11", [(LATE, 5)])  # before the first statement
    closed = api.close(MONTH)
    found = adjusted(api)
    assert "immutable" in found.headers["cache-control"]
    rows = [(row["month"], row["client"], row["billed"]) for row in found.json()["rows"]]
    assert rows == [("2025-11", "shop", 5), (CLOSED_MONTH, "bank", 0), (CLOSED_MONTH, "shop", 2)]
    totals = found.json()["totals"]
    assert {each: totals[each] for each in closed.statement.adjusted} == closed.statement.adjusted
    own = adjusted(api, api.keys.make("shop")).json()
    assert ({row["client"] for row in own["rows"]}, own["totals"]["billed"]) == ({"shop"}, 7)
    assert own["totals"]["bounced"] == 0
    api.count(CLOSED_MONTH, [(LATE, 9)])
    assert adjusted(api).json()["rows"] == found.json()["rows"]
    assert adjusted(api, month=CLOSED_MONTH, client="shop").json()["totals"]["billed"] == 2
    file = api.get("/v1/adjustments.csv", statement=MONTH)
    assert f"adjusted-by-{MONTH}.csv" in file.headers["content-disposition"]
    assert len(file.text.splitlines()) == 4
    # Both may be away.
    api.cells.broken, api.ends.away = True, "no broker answers"
    assert adjusted(api).status_code == 200


def test_a_statement_that_adjusts_nothing_has_no_rows(api: Api) -> None:
    api.close(CLOSED_MONTH)
    api.close(MONTH)
    assert adjusted(api).json()["rows"] == []


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"statement": "2026-12"}, 400, "statement: '2026-12' was found"),
        ({"statement": "soon"}, 400, "statement: 'soon' was found"),
        ({"statement": MONTH, "month": MONTH}, 400, "is not before the statement"),
        ({"statement": MONTH, "client": "nobody"}, 404, "nobody is not registered"),
    ],
)
def test_a_statement_that_cannot_be_is_an_error(
    api: Api, params: dict[str, str], status: int, words: str
) -> None:
    api.close(CLOSED_MONTH)
    api.close(MONTH)
    found = api.get("/v1/adjustments", **params)
    assert (found.status_code, words in found.json()["detail"]) == (status, True), found.text


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"month": MONTH}, 400, f"{MONTH} is not closed"),
        ({"from": CLOSED_MONTH, "to": MONTH}, 400, f"{MONTH} is not closed"),
        ({"month": "2027-01"}, 400, "has not begun"),
        ({"month": CLOSED_MONTH, "client": "nobody"}, 404, "nobody is not registered"),
        ({"month": CLOSED_MONTH, "columns": "focus"}, 400, "no such parameter"),
    ],
)
def test_what_cannot_be_is_an_error(
    api: Api, params: dict[str, str], status: int, words: str
) -> None:
    api.close(CLOSED_MONTH)
    found = api.get("/v1/adjustments", **params)
    assert (found.status_code, words in found.json()["detail"]) == (status, True), found.text


def test_a_removed_client_without_adjustments_is_known(tmp_path: Path) -> None:
    with open_api(tmp_path, clients=["new"]) as api:
        api.close(CLOSED_MONTH)
        assert waiting(api, client="shop")["rows"] == []


def test_all_pages_are_of_one_moment(api: Api) -> None:
    api.close(CLOSED_MONTH)
    api.count(CLOSED_MONTH, [(Cell("shop", f"m{n}", "", "billed", "01"), 1) for n in range(3)])
    first = waiting(api, limit=2)
    second = waiting(api, limit=2, cursor=first["next"])
    assert [row["mailing_id"] for row in (*first["rows"], *second["rows"])] == ["m0", "m1", "m2"]
    api.count(CLOSED_MONTH, [(LATE, 1)])
    found = api.get("/v1/adjustments", month=CLOSED_MONTH, limit=2, cursor=first["next"])
    assert found.status_code == 409


def test_one_month_is_compared_at_a_time_and_others_are_told(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison takes a thread and a disk; no number of requests takes more."""
    api.close(CLOSED_MONTH)
    begun, go_on = threading.Event(), threading.Event()
    read = api.cells.reading

    def slow(*months: str) -> Any:
        begun.set()
        assert go_on.wait(60)
        return read(*months)

    monkeypatch.setattr(api.cells, "reading", slow)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(waiting(api)))
    thread.start()
    assert begun.wait(60)
    found = api.get("/v1/adjustments", month=CLOSED_MONTH)
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    go_on.set()
    thread.join(60)
    assert answers[0]["rows"] == []
