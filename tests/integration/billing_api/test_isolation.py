"""A key of one client never sees a cell of another: over every route, form and grouping."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest

from services.billing.core.cells import COUNTERS, Cell
from services.billing.core.usage_api.query import KEYS
from services.billing.edge.http.exports import FORMATS, PARQUET, XLSX
from shared.access.keys import Right
from shared.topics.records import EventType
from tests.support.billing.api import CLOSED_MONTH, MONTH, NOON_MS, Api, event_record, open_api

# What must not be seen: names and numbers that occur nowhere else. Sums with them differ as well.
FOREIGN = {
    "bank": ("tresor-mailing", "tresor-branch", 876_543_219),
    "shop": ("secret-mailing", "secret-branch", 765_432_198),
}
OWN = 1_234
MARKS = ("tresor", "secret-", "8765432", "7654321")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with open_api(tmp_path) as found:
        for month in (CLOSED_MONTH, MONTH):
            cells = [(Cell("shop", "news", "south", "billed", "01"), OWN)]
            for client, (mailing, branch, number) in FOREIGN.items():
                for counter in COUNTERS:
                    cells.append((Cell(client, mailing, branch, counter, "01"), number))
                    cells.append((Cell(client, mailing, branch, counter, "01", "tresor"), number))
            found.count(month, cells)
        found.publish(
            [
                event_record(
                    EventType.DELIVERED,
                    f"{branch}-{number}",
                    client=client,
                    mailing_id=mailing,
                    sub_client=branch,
                    at_ms=NOON_MS - month_ms,
                    first_dispatch=True,
                )
                for client, (mailing, branch, number) in FOREIGN.items()
                for month_ms in (0, 30 * 86_400_000)
            ]
        )
        found.close(CLOSED_MONTH)
        # What comes afterwards waits for the next statement.
        found.count(
            CLOSED_MONTH,
            [(Cell(c, m, b, "billed", "02"), number) for c, (m, b, number) in FOREIGN.items()],
        )
        yield found


def addresses(api: Api) -> list[str]:
    """Every address of the application, filled with both months."""
    paths = []
    for route in api.app.routes:
        for month in (CLOSED_MONTH, MONTH):
            paths.append(route.path.replace("{month:str}", month).replace("{path:str}", "x"))
    assert not any("{" in path for path in paths), "fill in the new parameter"
    return sorted(set(paths))


def questions(path: str) -> list[str]:
    """The address with every grouping and form, for those that have any."""
    if path.startswith("/v1/usage/messages"):
        found = [f"{path}?month={month}" for month in (CLOSED_MONTH, MONTH)]
        found += [f"{each}&client=shop" for each in found]
        return [*found, f"{path}?month={MONTH}&kind=refused&mailing_id=tresor-mailing"]
    if not path.startswith(("/v1/usage", "/v1/adjustments")):
        return [path]
    if path.startswith("/v1/adjustments"):
        found = [f"{path}?month={CLOSED_MONTH}&group={group}" for group in ("", *KEYS)]
        found.append(f"{path}?statement={CLOSED_MONTH}")
        return [*found, f"{path}?month={CLOSED_MONTH}&client=shop"]
    groups = ["", *KEYS, "client,mailing_id", "month,client,mailing_id,sub_client,day"]
    spans = [f"month={CLOSED_MONTH}", f"month={MONTH}", f"from={CLOSED_MONTH}&to={MONTH}"]
    found = [f"{path}?{span}&group={group}" for span in spans for group in groups]
    found += [f"{path}?{spans[2]}&columns=focus", f"{path}?{spans[2]}&style=european"]
    found += [f"{path}?{spans[1]}&mailing_id={name}" for name, _, _ in FOREIGN.values()]
    return [*found, f"{path}?{spans[1]}&client=shop", f"{path}?{spans[1]}&limit=1"]


def text_of(content: bytes, media_type: str) -> str:
    """Everything that an answer says, also in packed forms."""
    if media_type == XLSX.media_type:
        book = openpyxl.load_workbook(io.BytesIO(content))
        return str([list(sheet.iter_rows(values_only=True)) for sheet in book])
    if media_type == PARQUET.media_type:
        table = pq.read_table(io.BytesIO(content))
        return f"{table.to_pydict()} {table.schema.metadata}"
    return content.decode("utf-8")


@pytest.mark.parametrize("sub_client", [None, "south"])
def test_a_key_of_a_client_sees_its_own_cells_only(api: Api, sub_client: str | None) -> None:
    key = api.keys.make("shop", sub_client)
    forbidden = MARKS if sub_client else ("tresor-", "8765432")
    asked = own = 0
    for path in addresses(api):
        for question in questions(path):
            for form in FORMATS:
                found = api.get(question, {**key, "Accept": form.media_type})
                asked += 1
                text = text_of(found.content, found.headers["content-type"].split(";")[0])
                seen = [mark for mark in forbidden if mark in text]
                assert not seen, (question, form.name, seen)
                assert found.status_code in (200, 403, 404), (question, found.text)
                own += str(OWN + 7) in text or str(OWN + 3) in text
    assert asked > 500
    assert own > 20


@pytest.mark.parametrize("client", ["bank", "shop&sub_client=north", "shop&sub_client="])
def test_a_request_for_the_cells_of_others_is_forbidden(api: Api, client: str) -> None:
    key = api.keys.make("shop", "south")
    for form in FORMATS:
        found = api.get(f"/v1/usage{form.suffix}?month={MONTH}&client={client}", key)
        assert found.status_code == 403


def test_a_cursor_of_another_key_opens_nothing(api: Api) -> None:
    first = api.get("/v1/usage", month=MONTH, limit=1).json()
    found = api.get("/v1/usage", api.keys.make("shop"), month=MONTH, cursor=first["next"])
    assert (found.status_code, "another query" in found.json()["detail"]) == (400, True)


def test_a_key_for_a_client_learns_nothing_of_the_volume_of_all(api: Api) -> None:
    api.ends.ends = {0: 424_242}
    found = api.get(f"/v1/usage?month={MONTH}", api.keys.make("shop")).json()
    assert (found["complete"], found["lag"]) == (False, {})
    assert found["as_of"]["months"] == [{"month": MONTH, "status": "open", "complete": False}]
    assert "424" not in found["reason"]


def test_without_a_key_no_route_answers(api: Api) -> None:
    for path in addresses(api):
        found = api.get(path, {})
        assert found.status_code == (200 if path in api.app.policy.public else 401), path  # type: ignore[attr-defined]


def test_a_key_without_the_right_reads_no_counts(api: Api) -> None:
    rights = tuple(right.value for right in Right if right is not Right.BILLING_READ)
    key = api.keys.make(rights=rights)
    for path in addresses(api):
        if path.startswith("/v1/"):
            assert api.get(path, key).status_code == 403, path
