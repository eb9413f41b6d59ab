"""Adds what is new to an archive (archive.py).

A file is written under another name, stored on disk and then renamed, so a process that dies leaves
at most a file that the next one removes. One process writes at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.billing.core.closing.chain import Closed
from services.billing.core.closing.statement import encode_statement
from services.billing.core.month import Months
from services.billing.edge.archive import (
    COLUMNS,
    HEADERS,
    LOG,
    PARTIAL,
    ROWS_PER_FILE,
    ROWS_PER_GROUP,
    UNDECODABLE,
    Archive,
    Gap,
    parts_of,
    schema,
)
from shared.runtime.errors import UsageError
from shared.stream.kafka_python.fetching import UndecodableRecord


class ArchiveWriter:
    """Adds what is new to an archive."""

    def __init__(self, folder: Path, log: str, months: Months) -> None:
        """Raises UsageError if the folder cannot be used or holds events of another topic."""
        try:
            (folder / "events").mkdir(parents=True, exist_ok=True)
            (folder / "statements").mkdir(exist_ok=True)
            for partial in folder.glob(f"*/*{PARTIAL}"):
                partial.unlink()
        except OSError as error:
            raise UsageError(f"{folder}: {error.strerror}") from None
        found = Archive(folder)
        if found.id() not in ("", log):
            raise UsageError(f"{folder} has events of the topic {found.id()}, not of {log}")
        self._folder = folder
        self._log = log
        self._months = months
        self._next = found.ends()
        self._files: dict[int, _File] = {}
        self.gaps: list[Gap] = []

    def starts(self, begins: Mapping[int, int]) -> dict[int, int]:
        """The offsets to read from, where Kafka begins at `begins`."""
        for partition, begin in sorted(begins.items()):
            due = self._next.get(partition, 0)
            if begin > due:
                self.gaps.append(Gap(partition, due, begin))
                self._next[partition] = begin
        return {partition: self._next.get(partition, 0) for partition in begins}

    def add(self, partition: int, records: Iterable[Any]) -> None:
        """Add consecutive records of a partition."""
        for record in records:
            month = self._month(record.timestamp)
            file = self._files.get(partition)
            if file is not None and (file.month != month or file.rows >= ROWS_PER_FILE):
                self._finish(partition, record.offset)
                file = None
            if file is None:
                file = self._open(partition, month)
            file.add(record)

    def finish(self, ends: Mapping[int, int]) -> None:
        """All records below `ends` were added: complete the files."""
        for partition, end in ends.items():
            if end > self._next.get(partition, 0):
                if partition not in self._files:
                    self._open(partition, self._last_month(partition))
                self._finish(partition, end)

    def abandon(self) -> None:
        """Remove the files that are not complete."""
        for file in self._files.values():
            file.abandon()
        self._files.clear()

    def add_statement(self, closed: Closed) -> None:
        """Add a statement; one that is there already stays."""
        path = self._folder / "statements" / f"{closed.statement.month}.json"
        if not path.exists():
            _store(path.with_suffix(".lines"), closed.text.pieces())
            _store(path, [encode_statement(closed.statement)])

    def _month(self, timestamp: int) -> str:
        try:
            return self._months.of(timestamp)
        except ValueError:
            return "unknown"

    def _last_month(self, partition: int) -> str:
        """The folder for offsets without records: markers and aborted transactions."""
        parts = [part for part in parts_of(self._folder) if part.partition == partition]
        return Path(max(parts).path).parent.name if parts else "unknown"

    def _open(self, partition: int, month: str) -> _File:
        folder = self._folder / "events"
        file = _File(folder, month, partition, self._next.get(partition, 0), self._log)
        self._files[partition] = file
        return file

    def _finish(self, partition: int, end: int) -> None:
        self._files.pop(partition).finish(end)
        self._next[partition] = end


class _File:
    """A file that is being written."""

    def __init__(self, folder: Path, month: str, partition: int, begin: int, log: str) -> None:
        self._folder = folder
        self.month = month
        self._partition = partition
        self._begin = begin
        self._log = log
        self._partial = folder / f"{partition}-{begin:020d}{PARTIAL}"
        self._schema = schema()
        self._writer = _writer(self._partial, self._schema)
        self._columns: list[list[Any]] = [[] for _ in COLUMNS]
        self._undecodable = 0
        self.rows = 0

    def add(self, record: Any) -> None:
        if isinstance(record, UndecodableRecord):
            self._undecodable += 1
            return
        found = dict(record.headers)
        row = (
            self._partition,
            record.offset,
            record.timestamp,
            *(found.get(f"ce_{name}") for name in HEADERS),
            record.value,
        )
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        self.rows += 1
        if len(self._columns[0]) >= ROWS_PER_GROUP:
            self._flush()

    def finish(self, end: int) -> None:
        self._flush()
        metadata = {LOG: self._log, UNDECODABLE: str(self._undecodable)}
        self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        target = self._folder / self.month
        target.mkdir(exist_ok=True)
        name = f"{self._partition}-{self._begin:020d}-{end:020d}.parquet"
        _rename(self._partial, target / name)

    def abandon(self) -> None:
        self._writer.close()
        self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._columns[0]:
            self._writer.write_table(_table(self._columns, self._schema))
            self._columns = [[] for _ in COLUMNS]


def _writer(path: Path, columns: Any) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, columns, compression="zstd")


def _table(values: Sequence[Sequence[Any]], columns: Any) -> Any:
    import pyarrow as pa

    return pa.table(values, schema=columns)


def _store(path: Path, pieces: Iterable[bytes]) -> None:
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        file.writelines(pieces)
    _rename(partial, path)


def _rename(partial: Path, path: Path) -> None:
    """Give a file its name when it is stored on disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems do not store folders
            os.fsync(folder)
    finally:
        os.close(folder)
