"""Exports usage as files. A CSV file is streamed while the rows are read. An XLSX or Parquet file
is first written to a temporary file.

Memory is bounded for any number of rows. The number of simultaneous exports is bounded, too
(slots.py). pyarrow takes 40 MB of memory, so it is imported only when the first Parquet file is
written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import IO, Any, Final

import xlsxwriter
from msgspec import Struct

from services.billing.core.usage_api.tables import Table, csv_lines
from services.billing.edge.http.slots import Slots

MAX_SHEET_ROWS: Final = 1_048_000  # a sheet may have at most 1,048,576 rows
_PIECE_BYTES: Final = 256 * 1024
_BATCH_ROWS: Final = 10_000


class Format(Struct, frozen=True):
    """A file format in which usage is exported."""

    name: str
    media_type: str
    suffix: str


JSON: Final = Format("json", "application/json", ".json")
CSV: Final = Format("csv", "text/csv", ".csv")
XLSX: Final = Format(
    "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"
)
PARQUET: Final = Format("parquet", "application/vnd.apache.parquet", ".parquet")
FORMATS: Final = (JSON, CSV, XLSX, PARQUET)


class Exports:
    """Writes tables. Thread-safe."""

    def __init__(self, slots: Slots | None = None) -> None:
        self._slots = slots or Slots()

    def pieces(
        self,
        form: Format,
        table: Table,
        about: Mapping[str, str],
        *,
        is_european: bool,
        owner: str = "",
    ) -> Iterator[bytes]:
        """Return the bytes of a file in pieces. `owner` is the id of the key. NoRoom is raised by
        this call, before the first piece is made."""
        if form is CSV:
            made = csv_lines(table, is_european=is_european)
        else:
            write = _write_xlsx if form is XLSX else _write_parquet
            made = _written(write, table, about)
        return self._slots.stream(made, owner)


Writing = Callable[[IO[bytes], Table, Mapping[str, str]], None]


def _written(write: Writing, table: Table, about: Mapping[str, str]) -> Iterator[bytes]:
    with tempfile.TemporaryFile(prefix="sluice-export-") as file:
        write(file, table, about)
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _write_xlsx(file: IO[bytes], table: Table, about: Mapping[str, str]) -> None:
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(file, options) as book:
        # The time of the file is the moment of the counts, not the present time. So equal counts
        # give equal files.
        book.set_properties({"created": datetime.fromisoformat(about["as_of"])})
        bold = book.add_format({"bold": True})
        rows = iter(table.rows)
        number = 1
        while True:
            part = list(islice(rows, 1))
            if not part and number > 1:
                break
            sheet = book.add_worksheet("usage" if number == 1 else f"usage {number}")
            sheet.freeze_panes(1, 0)
            for column, name in enumerate(table.columns):
                sheet.write_string(0, column, name, bold)
            _fill(sheet, part, rows)
            number += 1
        # The sheet "about" is the last sheet, because programs that import a workbook read the
        # first sheet.
        sheet = book.add_worksheet("about")
        for place, (name, value) in enumerate(about.items()):
            sheet.write_string(place, 0, name, bold)
            sheet.write_string(place, 1, value)


def _fill(sheet: Any, first: list[tuple[Any, ...]], rows: Iterator[tuple[Any, ...]]) -> None:
    place = 1
    for row in (*first, *()):
        _write_row(sheet, place, row)
        place += 1
    for row in islice(rows, MAX_SHEET_ROWS - len(first)):
        _write_row(sheet, place, row)
        place += 1


def _write_row(sheet: Any, place: int, row: tuple[Any, ...]) -> None:
    for column, value in enumerate(row):
        if isinstance(value, str):
            sheet.write_string(place, column, value)
        else:
            sheet.write_number(place, column, value)


def _write_parquet(file: IO[bytes], table: Table, about: Mapping[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    last = len(table.columns) - table.last_texts
    is_text = [place < table.texts or place >= last for place in range(len(table.columns))]
    schema = pa.schema(
        [
            pa.field(name, pa.string() if text else pa.int64(), nullable=False)
            for name, text in zip(table.columns, is_text, strict=True)
        ],
        metadata=dict(about),
    )
    rows = iter(table.rows)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(rows, _BATCH_ROWS)):
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*batch, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
