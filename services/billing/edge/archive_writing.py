"""Adds new events to an archive (archive.py), and restores the events of lost files.

Records whose offsets are in no file are read again if Kafka still has them. Offsets whose records
Kafka deleted before they were archived are reported once and noted in `deleted.json`. The file
`deleted.json` also has the offset up to which each partition was archived. So if a file is lost and
Kafka has deleted its events, every run reports the missing offsets, even if the lost file was the
last file. An archive without `deleted.json` was written by an earlier version. The first run of
this version notes all missing offsets of such an archive as deleted.

Kafka may delete events while they are read. If the first record does not have the expected offset,
the writer asks Kafka again for the first offset of the partition. The offsets whose records were
deleted in the meantime become a gap and do not belong to any file. After the first record, no
record may be skipped (EventLog with is_strict).

If a writer dies, the next writer removes the unfinished files. A writer must hold the lock
(only_writer in archive_files.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

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
    sha256_of_file,
    sum_path,
)
from services.billing.edge.archive_files import Notes, remove_leftovers, rename, store
from shared.runtime.errors import UsageError
from shared.stream.kafka_python.fetching import UndecodableRecord


class ArchiveWriter:
    """Adds new events to an archive.

    `gaps` are the offsets that are in no file and whose records Kafka has deleted. Gaps that an
    earlier run reported and noted are left out. `filled` are the offsets of lost records that are
    now archived again.
    """

    def __init__(
        self,
        folder: Path,
        log: str,
        months: Months,
        begins: Callable[[], Mapping[int, int]],
    ) -> None:
        """`begins` is a function that returns the first offset that Kafka still has of each
        partition.

        Raises UsageError if the folder cannot be used or has events of another topic. Raises
        DamagedFile if a file cannot be read.
        """
        try:
            (folder / "events").mkdir(parents=True, exist_ok=True)
            (folder / "statements").mkdir(exist_ok=True)
            remove_leftovers(folder)
        except OSError as error:
            raise UsageError(f"{folder}: {error.strerror}") from None
        found = Archive(folder)
        if found.id() not in ("", log):
            raise UsageError(f"{folder} has events of the topic {found.id()}, not of {log}")
        self._folder = folder
        self._log = log
        self._months = months
        self._begins = begins
        self._notes = Notes(folder, found.ends())
        self._next = dict(self._notes.archived)
        self._missing = [*found.missing(), *_lost_ends(found.ends(), self._next)]
        self._files: dict[int, _File] = {}
        self.gaps: list[Gap] = []
        self.filled: list[Gap] = []

    def lost(self) -> list[Gap]:
        """Return the offsets that are missing in the archive and whose records Kafka still has.

        If Kafka has deleted records that are missing in the archive, their offsets are added to
        `gaps`.
        """
        begins = self._begins()
        found, gone = list[Gap](), list[Gap]()
        for gap in self._missing:
            begin = max(gap.begin, min(gap.end, begins.get(gap.partition, gap.end)))
            if begin > gap.begin:
                gone.append(structs.replace(gap, end=begin))
            if begin < gap.end:
                found.append(structs.replace(gap, begin=begin))
        self.gaps += self._notes.unknown(gone)
        return found

    def fill(self, gap: Gap, records: Iterable[tuple[int, Iterable[Any]]]) -> None:
        """Add all records of a gap that lost() has returned."""
        after = self._next[gap.partition]
        self._next[gap.partition] = gap.begin
        for partition, run in records:
            self.add(partition, run)
        self.finish({gap.partition: gap.end})
        self._next[gap.partition] = after

    def starts(self) -> dict[int, int]:
        """Return, for each partition, the first offset to read. If Kafka has deleted the records
        that should be archived next, their offsets are added to `gaps`."""
        begins = self._begins()
        for partition, begin in sorted(begins.items()):
            self._leave_out(partition, begin)
        return {partition: self._next.get(partition, 0) for partition in begins}

    def add(self, partition: int, records: Iterable[Any]) -> None:
        """Add consecutive records of a partition."""
        for record in records:
            month = self._month(record.timestamp)
            if partition not in self._files:
                self._leave_out_deleted(partition, record.offset)
            file = self._files.get(partition)
            if file is not None and (file.month != month or file.rows >= ROWS_PER_FILE):
                self._finish(partition, record.offset)
                file = None
            if file is None:
                file = self._open(partition, month)
            file.add(record)

    def finish(self, ends: Mapping[int, int]) -> None:
        """Complete the files. Before this call, the caller must add all records before the offsets
        in `ends`."""
        for partition, end in ends.items():
            if partition not in self._files:
                self._leave_out_deleted(partition, end)
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
        """Add the two files of a statement. A file that already exists is not changed."""
        path = self._folder / "statements" / f"{closed.statement.month}.json"
        if not path.with_suffix(".lines").exists():
            store(path.with_suffix(".lines"), closed.text.pieces())
        if not path.exists():
            store(path, [encode_statement(closed.statement)])

    def _leave_out_deleted(self, partition: int, before: int) -> None:
        """Leave out the offsets below `before` whose records Kafka has deleted in the meantime."""
        if before > self._next.get(partition, 0):
            self._leave_out(partition, min(before, self._begins().get(partition, 0)))

    def _leave_out(self, partition: int, begin: int) -> None:
        """If `begin` is after the next offset of the partition, report the gap between the two, and
        continue at `begin`."""
        due = self._next.get(partition, 0)
        if begin <= due:
            return
        gap = Gap(partition, due, begin)
        if due < self._notes.archived.get(
            partition, 0
        ):  # the offsets were archived, but their file is lost
            self.gaps += self._notes.unknown([gap])
        else:
            self.gaps.append(gap)
            self._notes.note_deleted(gap)
        self._next[partition] = begin

    def _month(self, timestamp: int) -> str:
        try:
            return self._months.of(timestamp)
        except ValueError:
            return "unknown"

    def _last_month(self, partition: int) -> str:
        """Return the month of a file without records. The offsets of such a file belong to markers
        and to records of aborted transactions."""
        parts = [part for part in parts_of(self._folder) if part.partition == partition]
        return Path(max(parts).path).parent.name if parts else "unknown"

    def _open(self, partition: int, month: str) -> _File:
        folder = self._folder / "events"
        file = _File(folder, month, partition, self._next.get(partition, 0), self._log)
        self._files[partition] = file
        return file

    def _finish(self, partition: int, end: int) -> None:
        file = self._files.pop(partition)
        file.finish(end)
        if end <= self._notes.archived.get(partition, 0):
            self.filled.append(Gap(partition, file.begin, end))
        self._notes.note_end(partition, end)
        self._next[partition] = end


def _lost_ends(ends: Mapping[int, int], archived: Mapping[int, int]) -> list[Gap]:
    """Return the offsets after the last file of each partition that were archived and are now
    missing."""
    return [
        Gap(partition, ends.get(partition, 0), end)
        for partition, end in sorted(archived.items())
        if end > ends.get(partition, 0)
    ]


class _File:
    """A file that is being written."""

    def __init__(self, folder: Path, month: str, partition: int, begin: int, log: str) -> None:
        self._folder = folder
        self.month = month
        self._partition = partition
        self.begin = begin
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
        path = target / f"{self._partition}-{self.begin:020d}-{end:020d}.parquet"
        # The SHA-256 must be stored before the file, because a file without a SHA-256 is treated as
        # a file of an earlier version.
        store(sum_path(path), [f"{sha256_of_file(self._partial)}  {path.name}\n".encode()])
        rename(self._partial, path)

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
