"""Usage as files: CSV is streamed as it is read, XLSX and Parquet are written to a file first.

Memory is bounded, whatever the number of rows; so is the number of exports at a time.
"""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter
from msgspec import Struct

from services.billing.core.usage_api.tables import Table, csv_lines

MAX_EXPORTS: Final = 4
MAX_SHEET_ROWS: Final = 1_048_000  # a sheet may have 1,048,576
_PIECE_BYTES: Final = 256 * 1024
_BATCH_ROWS: Final = 10_000


class Format(Struct, frozen=True):
    """A form in which usage is given."""

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


class NoRoom(Exception):
    """As many exports as are allowed at a time are running."""


class Exports:
    """Writes tables. Any thread may ask."""

    def __init__(self, most: int = MAX_EXPORTS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()

    def pieces(
        self,
        form: Format,
        table: Table,
        about: Mapping[str, str],
        *,
        is_european: bool,
        owner: str = "",
    ) -> Iterator[bytes]:
        """The bytes of a file, in pieces. Raises NoRoom at once.

        `owner`: the id of the key, which may have half of the exports: it may read slowly.
        """
        with self._lock:
            is_full = self._running.total() >= self._most
            if is_full or self._running[owner] >= max(1, self._most // 2):
                raise NoRoom
            self._running[owner] += 1
        ended = partial(self._end, owner)
        if form is CSV:
            return _Pieces(csv_lines(table, is_european=is_european), ended)
        write = _write_xlsx if form is XLSX else _write_parquet
        return _Pieces(_written(write, table, about), ended)

    def _end(self, owner: str) -> None:
        with self._lock:
            self._running[owner] -= 1
            self._running += Counter()  # without those that have none


class _Pieces:
    """Calls `ended` once: at the end, on an error, or when nobody reads on."""

    def __init__(self, pieces: Iterator[bytes], ended: Callable[[], None]) -> None:
        self._pieces = pieces
        self._ended: Callable[[], None] | None = ended

    def __iter__(self) -> _Pieces:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except ValueError as error:
            # Litestar takes a ValueError for the end: a cut file would look whole.
            self._end()
            raise RuntimeError("a file could not be made") from error
        except BaseException:
            self._end()
            raise

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


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
        bold = book.add_format({"bold": True})
        sheet = book.add_worksheet("about")
        for number, (name, value) in enumerate(about.items()):
            sheet.write_string(number, 0, name, bold)
            sheet.write_string(number, 1, value)
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
        book.get_worksheet_by_name("usage").activate()


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
