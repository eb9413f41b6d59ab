"""The mail ids behind a number: as many as were counted, and none of another key's."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from msgspec import structs

from services.billing.core.usage_messages import COLUMNS, KINDS
from shared.topics.records import EventType, Violation
from tests.support.billing.api import CLOSED_MONTH, MONTH, NOON_MS, Api, event_record, open_api

DAY_MS = 86_400_000


def sent(number: int, sub_client: str = "south", at_ms: int = NOON_MS, **fields: Any) -> list[Any]:
    return [
        event_record(
            fields.pop("kind", EventType.DELIVERED),
            f"{sub_client}{at_ms}-{each}",
            **{
                "client": "shop",
                "mailing_id": "news",
                "sub_client": sub_client,
                "at_ms": at_ms,
                "first_dispatch": True,
                "size_bytes": 7,
                **fields,
            },
        )
        for each in range(number)
    ]


def refused(at_ms: int = NOON_MS) -> Any:
    rules = (Violation("R4", "x"), Violation("R1", "y"))
    return event_record(
        EventType.REFUSED, "r1", client="shop", mailing_id="news", at_ms=at_ms, rules=rules
    )


@pytest.fixture
def api(tmp_path: Any) -> Any:
    with open_api(tmp_path) as found:
        found.cells.drop()
        found.publish([*sent(5), *sent(3, "north", NOON_MS - DAY_MS), refused()])
        found.publish(sent(2, "south", NOON_MS - 30 * DAY_MS))
        yield found


def ids(api: Api, *key: str | None, **params: str) -> list[str]:
    headers = api.keys.make(*key) if key else None  # type: ignore[arg-type]
    found = api.get("/v1/usage/messages", headers, **{"month": MONTH, **params})
    assert found.status_code == 200, found.text
    lines = [json.loads(line) for line in found.text.splitlines()]
    assert int(found.headers["sluice-count"]) == len(lines)
    return [line["mail_id"] for line in lines]


@pytest.mark.parametrize(
    ("params", "number"),
    [
        ({}, 8),
        ({"kind": "delivered"}, 8),
        ({"sub_client": "north"}, 3),
        ({"day": "2026-11-14"}, 3),
        ({"day": "2026-11-13"}, 0),
        ({"month": CLOSED_MONTH}, 2),
        ({"kind": "refused"}, 1),
        ({"kind": "refused", "detail": "R1"}, 1),
        ({"kind": "refused", "detail": "R2"}, 0),
        ({"client": "shop", "mailing_id": "news"}, 8),
    ],
)
def test_as_many_ids_come_as_the_cell_says(api: Api, params: dict[str, str], number: int) -> None:
    assert len(ids(api, **params)) == number


def test_a_closed_month_has_the_mails_of_its_statement(api: Api) -> None:
    closed = api.close(CLOSED_MONTH)
    marks = {str(part): mark for part, mark in api.cells.read().watermarks.items()}
    statement = structs.replace(closed.statement, offsets=marks)
    api.books.found[CLOSED_MONTH] = structs.replace(closed, statement=statement)
    before = ids(api, month=CLOSED_MONTH)
    assert len(before) == 2
    # What comes later is an adjustment of another statement.
    api.publish(sent(4, "late", NOON_MS - 30 * DAY_MS))
    assert ids(api, month=CLOSED_MONTH) == before


def test_a_key_lists_what_it_reaches(api: Api) -> None:
    assert {each[:5] for each in ids(api, "shop", "south")} == {"south"}
    assert len(ids(api, "shop", "south")) == 5
    assert len(ids(api, "shop")) == 8
    for params in ({"client": "bank"}, {"sub_client": "north"}):
        key = api.keys.make("shop", "south")
        found = api.get("/v1/usage/messages", key, month=MONTH, **params)
        assert found.status_code == 403


def test_a_line_of_csv_says_the_same(api: Api) -> None:
    found = api.get("/v1/usage/messages.csv", month=MONTH, kind="refused")
    names, row = csv.reader(io.StringIO(found.text))
    assert tuple(names) == COLUMNS
    assert dict(zip(names, row, strict=True)) == {
        "mail_id": "r1",
        "at": "2026-11-15T12:00:00Z",
        "day": "2026-11-15",
        "client": "shop",
        "mailing_id": "news",
        "sub_client": "",
        "kind": "refused",
        "detail": "R1 R4",
        "size_bytes": "0",
    }


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"month": ""}, "month: '' is not a month"),
        ({"kind": "bytes"}, "kind: 'bytes' was found"),
        ({"kind": "x"}, "kind: 'x' was found"),
        ({"detail": "R1"}, "detail: only refused, suppressed, bounced have details"),
        ({"day": "2026-10-01"}, "is not a day of 2026-11"),
        ({"day": "2026-11-31"}, "is not a day of 2026-11"),
        ({"day": "2026-11-1²"}, "is not a day of 2026-11"),
    ],
)
def test_a_number_that_cannot_be_is_an_error(
    api: Api, params: dict[str, str], sentence: str
) -> None:
    found = api.get("/v1/usage/messages", **{"month": MONTH, **params})
    assert (found.status_code, sentence in found.json()["detail"]) == (400, True), found.text


def test_every_kind_can_be_asked_for(api: Api) -> None:
    for kind in KINDS:
        ids(api, kind=kind)
