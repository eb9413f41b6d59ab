"""/v1/months and /v1/statements."""

from __future__ import annotations

import hashlib

import msgspec

from services.billing.core.cells import Cell
from services.billing.core.closing.lines import decode_lines
from services.billing.core.closing.statement import decode_statement, faults
from tests.support.billing.api import CLOSED_MONTH, MONTH, Api
from tests.support.billing.statements import BytesText


def test_months_are_listed_with_their_states(api: Api) -> None:
    assert api.get("/v1/months").json() == {
        "present": MONTH,
        "months": [
            {"month": CLOSED_MONTH, "status": "closing"},
            {"month": MONTH, "status": "open"},
        ],
    }
    closed = api.close(CLOSED_MONTH)
    first, _ = api.get("/v1/months").json()["months"]
    assert (first["status"], first["sha256"]) == ("closed", closed.statement.sha256)
    assert (first["complete"], first["lines"], first["signed"]) == (True, 8, False)


def test_a_month_before_the_first_statement_has_one_state_and_waits_for_the_next(api: Api) -> None:
    api.close(CLOSED_MONTH)
    api.count("2025-11", [(Cell("shop", "news", "", "billed", "01"), 2)])
    states = {each["month"]: each["status"] for each in api.get("/v1/months").json()["months"]}
    assert states == {"2025-11": "earlier", CLOSED_MONTH: "closed", MONTH: "open"}
    usage = api.get("/v1/usage", month="2025-11")
    assert usage.json()["as_of"]["months"][0]["status"] == "earlier"
    assert "immutable" not in usage.headers["cache-control"]
    assert api.get("/v1/months/2025-11").json()["status"] == "earlier"
    found = api.get("/v1/statements/2025-11")
    assert (found.status_code, "2025-11 is earlier" in found.json()["detail"]) == (404, True)
    waiting = api.get("/v1/adjustments", month="2025-11").json()
    assert waiting["totals"]["billed"] == 2
    assert api.close(MONTH).statement.adjusted == {"billed": 2}
    assert api.get("/v1/adjustments", month="2025-11").json()["totals"]["billed"] == 0


def test_a_month_has_its_sums_and_days(api: Api) -> None:
    found = api.get(f"/v1/months/{MONTH}").json()
    assert (found["status"], found["complete"], found["totals"]["billed"]) == ("open", True, 18)
    assert [(row["day"][-2:], row["billed"]) for row in found["days"]] == [
        ("01", 3),
        ("02", 4),
        ("03", 5),
        ("04", 6),
    ]


def test_a_statement_is_given_byte_by_byte_and_proves_itself(api: Api) -> None:
    api.close(CLOSED_MONTH)
    header = api.get(f"/v1/statements/{CLOSED_MONTH}")
    lines = api.get(f"/v1/statements/{CLOSED_MONTH}/lines")
    statement = decode_statement(header.content)
    assert faults(statement, BytesText(lines.content), ()) == []
    assert hashlib.sha256(lines.content).hexdigest() == statement.sha256
    assert len(list(decode_lines(BytesText(lines.content)))) == 8
    assert msgspec.json.decode(header.content)["month"] == CLOSED_MONTH
