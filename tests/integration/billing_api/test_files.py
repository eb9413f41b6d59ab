"""Usage as CSV, XLSX and Parquet, and in the columns of FOCUS."""

from __future__ import annotations

import csv
import io
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

from services.billing.core.cells import COUNTERS
from services.billing.core.usage_api.tables import FOCUS_COLUMNS
from services.billing.edge.http.exports import CSV, PARQUET, XLSX
from tests.support.billing.api import CLOSED_MONTH, MONTH, Api

COLUMNS = ["month", "client", "mailing_id", "sub_client", "day", *COUNTERS, "complete", "as_of"]
AS_OF = "2026-11-15T12:00:00Z"


def table_of(found: Any) -> list[list[Any]]:
    """The rows of a file, the names of the columns first."""
    media_type = found.headers["content-type"].split(";")[0]
    if media_type == CSV.media_type:
        return list(csv.reader(io.StringIO(found.text)))
    if media_type == XLSX.media_type:
        sheet = openpyxl.load_workbook(io.BytesIO(found.content))["usage"]
        return [[cell or "" for cell in row] for row in sheet.iter_rows(values_only=True)]
    assert media_type == PARQUET.media_type
    table = pq.read_table(io.BytesIO(found.content))
    columns = table.to_pydict().values()
    return [table.column_names, *map(list, zip(*columns, strict=True))]


def plain(row: list[Any]) -> list[str]:
    """As CSV has it, with its zeros."""
    return [str(value) if value != "" else "" for value in row]


@pytest.mark.parametrize("form", [CSV, XLSX, PARQUET])
@pytest.mark.parametrize("by", ["suffix", "accept"])
def test_a_file_has_all_rows_and_says_of_which_moment_they_are(
    api: Api, form: Any, by: str
) -> None:
    headers = api.keys.make()
    if by == "suffix":
        found = api.get(f"/v1/usage{form.suffix}", headers, month=MONTH, limit="1")
    else:
        found = api.get("/v1/usage", {**headers, "Accept": form.media_type}, month=MONTH)
    kind, _, charset = found.headers["content-type"].partition("; ")
    assert kind == form.media_type
    assert charset in {"", "charset=utf-8"}
    name = f'attachment; filename="usage-{MONTH}{form.suffix}"'
    assert found.headers["content-disposition"] == name
    assert (found.headers["sluice-complete"], found.headers["sluice-as-of"]) == ("true", AS_OF)
    names, *rows = table_of(found)
    assert names == COLUMNS
    assert [row[1:4] for row in rows][2:] == [["shop", "news", "north"], ["shop", "news", "south"]]
    assert {tuple(row[-2:]) for row in rows} == {("true", AS_OF)}
    billed = COLUMNS.index("billed")
    assert [int(row[billed] or 0) for row in rows] == [5, 6, 0, 7]


def test_numbers_are_integers(api: Api) -> None:
    sheet = openpyxl.load_workbook(io.BytesIO(api.get("/v1/usage.xlsx", month=MONTH).content))[
        "usage"
    ]
    first = next(sheet.iter_rows(min_row=2, values_only=True))
    assert {type(value) for value in first[5:-2]} == {int}
    schema = pq.read_schema(io.BytesIO(api.get("/v1/usage.parquet", month=MONTH).content))
    assert {str(schema.field(name).type) for name in COUNTERS} == {"int64"}
    assert schema.metadata[b"complete"] == b"true"


def test_no_spreadsheet_runs_what_a_client_has_called_its_mailing(api: Api) -> None:
    (row,) = [
        row for row in table_of(api.get("/v1/usage.csv", month=MONTH)) if "HYPERLINK" in row[2]
    ]
    assert row[2] == "'=HYPERLINK(1)"
    book = openpyxl.load_workbook(io.BytesIO(api.get("/v1/usage.xlsx", month=MONTH).content))
    cells = {cell.value: cell.data_type for row in book["usage"].iter_rows() for cell in row}
    assert cells["=HYPERLINK(1)"] in ("s", "f")
    raw = api.get("/v1/usage.xlsx", month=MONTH).content
    assert b"<f>" not in _sheets(raw)


def _sheets(content: bytes) -> bytes:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        return b"".join(parts.read(name) for name in parts.namelist() if "sheet" in name)


def test_the_first_sheet_of_a_workbook_has_the_rows(api: Api) -> None:
    content = api.get("/v1/usage.xlsx", month=MONTH).content
    assert openpyxl.load_workbook(io.BytesIO(content)).sheetnames == ["usage", "about"]


def test_a_workbook_was_made_at_the_moment_of_its_counts(api: Api) -> None:
    """Not now: the same counts are the same bytes, as the strong ETag says."""
    first, second = (api.get("/v1/usage.xlsx", month=MONTH) for _ in range(2))
    assert (first.headers["etag"], first.content) == (second.headers["etag"], second.content)
    properties = openpyxl.load_workbook(io.BytesIO(first.content)).properties
    assert (
        f"{properties.created:%Y-%m-%dT%H:%M:%SZ}"
        == AS_OF
        == f"{properties.modified:%Y-%m-%dT%H:%M:%SZ}"
    )


def test_the_european_form_has_semicolons_and_a_byte_order_mark(api: Api) -> None:
    answer = api.get("/v1/usage.csv", month=MONTH, style="european")
    assert f"usage-{MONTH}-european.csv" in answer.headers["content-disposition"]
    found = answer.content
    assert found.startswith(b"\xef\xbb\xbfmonth;client;")
    assert found.count(b"\r\n") == 5


@pytest.mark.parametrize("form", [CSV, XLSX, PARQUET])
def test_the_columns_of_focus_have_the_billed_messages(api: Api, form: Any) -> None:
    found = api.get(
        f"/v1/usage{form.suffix}",
        month=MONTH,
        columns="focus",
        group="month,client,mailing_id,sub_client,day",
    )
    names, *rows = table_of(found)
    assert tuple(names) == FOCUS_COLUMNS
    shown = [dict(zip(names, row, strict=True)) for row in rows]
    assert [int(row["ConsumedQuantity"]) for row in shown] == [5, 6, 3, 4]
    assert shown[0]["BillingPeriodStart"] == f"{MONTH}-01T00:00:00Z"
    assert shown[0]["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"
    assert (shown[0]["ChargePeriodStart"], shown[0]["ChargePeriodEnd"]) == (
        f"{MONTH}-03T00:00:00Z",
        f"{MONTH}-04T00:00:00Z",
    )
    assert (shown[0]["BillingAccountId"], shown[0]["ChargeCategory"]) == ("bank", "Usage")
    assert shown[0]["BilledCost"] == ""


@pytest.mark.parametrize("form", [CSV, XLSX, PARQUET])
def test_a_file_without_rows_has_its_columns(api: Api, form: Any) -> None:
    found = api.get(f"/v1/usage{form.suffix}", month=MONTH, client="shop", mailing_id="none")
    assert table_of(found) == [COLUMNS]


def test_a_range_is_one_file(api: Api) -> None:
    found = api.get("/v1/usage.csv", **{"from": CLOSED_MONTH, "to": MONTH})
    assert [row[0] for row in table_of(found)[1:]] == [CLOSED_MONTH] * 4 + [MONTH] * 4
    assert "usage-2026-10-to-2026-11.csv" in found.headers["content-disposition"]


def test_exports_end_and_free_their_places(api: Api) -> None:
    for _ in range(20):
        assert api.get("/v1/usage.csv", month=MONTH).status_code == 200
