"""The archive is a folder with the events of mail.events, in Parquet files, and with the
statements.

DIR/events/2026-10/0-00000000000000000000-00000000000000001234.parquet
    DIR/statements/2026-10.json, 2026-10.lines

Each Parquet file has the records of one partition between two offsets. Normally there are no gaps
between the files of a partition. A file is in the folder of the month in which Kafka stored the
first record of the file. A file is written under a temporary name, synced to disk and then renamed,
so a file with its final name is complete. If a writer dies, the next writer removes the unfinished
files. Only one process writes to an archive at a time.

If a file cannot be read, DamagedFile is raised. The text of this error contains the path of the
file. Each file of events has a second file with its SHA-256, in the format of sha256sum. Before the
events are read, the SHA-256 of the file is compared with the stored SHA-256. So a disk error in a
file cannot change a count. Files that were written by earlier versions have no SHA-256.

pyarrow is imported only when a file is read or written, because the import takes a tenth of a
second and 40 MB. The billing service and most commands do not need pyarrow.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from services.billing.core.closing.chain import MAX_PARTS, Chain, header_key, part_key
from services.billing.core.closing.statement import decode_statement
from services.billing.edge.temporary_files import PartFile
from shared.runtime.errors import UsageError

ROWS_PER_GROUP: Final = 50_000
ROWS_PER_FILE: Final = 2_000_000
_NAME: Final = re.compile(r"([0-9]{1,9})-([0-9]{20})-([0-9]{20})\.parquet")
PARTIAL: Final = ".partial"
SUM: Final = ".sha256"
LOG: Final = b"sluice.log"
UNDECODABLE: Final = b"sluice.undecodable"
# The CloudEvents attributes that are archived. In the headers of a record, these names begin with
# ce_.
HEADERS: Final = ("id", "type", "source", "subject", "time")
COLUMNS: Final = ("partition", "offset", "timestamp_ms", *HEADERS, "value")


def schema() -> Any:
    """Return the columns of a file, for pyarrow."""
    import pyarrow as pa

    types = {"partition": pa.int32(), "offset": pa.int64(), "timestamp_ms": pa.int64()}
    return pa.schema([pa.field(name, types.get(name, pa.binary())) for name in COLUMNS])


class ArchivedRecord(Struct, frozen=True, gc=False):
    """A record of mail.events with the same fields as a record that is read from Kafka."""

    offset: int
    timestamp: int
    headers: list[tuple[str, bytes]]
    value: bytes | None


class Part(Struct, frozen=True, order=True):
    """One file of the archive."""

    partition: int
    begin: int
    end: int
    path: str


class Gap(Struct, frozen=True, order=True):
    """A range of offsets of one partition whose records are not in the archive. `end` is the offset
    after the range."""

    partition: int
    begin: int
    end: int


class DamagedFile(Exception):
    """A file of the archive cannot be read, or its bytes have changed since the file was
    written."""


@contextmanager
def damage_of(path: str | Path) -> Iterator[None]:
    """While a file is read, turn errors into DamagedFile. Its text contains the path of the
    file."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedFile(
            f"{path}: the file is damaged ({reason}); replace the file by a copy, or remove it: "
            "`billing archive` then reads its events again, if Kafka still has them"
        ) from error


class Archive:
    """Reads an archive. Its methods may raise DamagedFile."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError if the folder does not exist."""
        self._folder = folder
        self._parts = sorted(parts_of(folder))

    def id(self) -> str:
        """Return the id of the archived topic. Return "" if nothing is archived."""
        found = {self._metadata(part).get(LOG, b"").decode() for part in self._parts}
        if len(found) > 1:
            raise UsageError(f"{self._folder} has events of {len(found)} topics: {sorted(found)}")
        return next(iter(found), "")

    def begins(self) -> dict[int, int]:
        """Return the first offset of each partition."""
        found: dict[int, int] = {}
        for part in self._parts:
            found.setdefault(part.partition, part.begin)
        return found

    def ends(self) -> dict[int, int]:
        """Return the offset after the last record of each partition."""
        return {part.partition: part.end for part in self._parts}

    committed_ends = ends
    written_ends = ends

    def gaps(self) -> list[Gap]:
        """Return the ranges of offsets that are missing between the files."""
        return [
            Gap(before.partition, before.end, after.begin)
            for before, after in zip(self._parts, self._parts[1:], strict=False)
            if before.partition == after.partition and before.end != after.begin
        ]

    def missing(self) -> list[Gap]:
        """Return the ranges of offsets that are missing before the first file of a partition, or
        between two files of a partition."""
        first = [Gap(part, 0, begin) for part, begin in self.begins().items() if begin]
        return sorted([*first, *self.gaps()])

    def damaged(self) -> list[str]:
        """Check the SHA-256 of all files. Return one line of text for each damaged file, with the
        reason."""
        found = list[str]()
        for part in self._parts:
            try:
                _require_same_bytes(Path(part.path))
            except DamagedFile as error:
                found.append(str(error))
        return found

    def undecodable(self) -> int:
        """Return the number of batches of records that could not be decoded when they were
        archived."""
        return sum(int(self._metadata(part).get(UNDECODABLE, b"0")) for part in self._parts)

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        """Return, for each partition, the first offset of the first file that has a record with
        this time or a later time."""
        found: dict[int, int] = {}
        for part in self._parts:
            if part.partition not in found and self._last_ms(part) >= time_ms:
                found[part.partition] = part.begin
        return found

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> Iterator[tuple[int, Sequence[ArchivedRecord]]]:
        """Yield runs of the records before the offsets in `ends`. The records of each partition are
        in order.

        Files without records at or after the offsets in `starts` are left out.
        """
        for part in self._parts:
            begin = (starts or {}).get(part.partition, 0)
            if part.begin >= ends.get(part.partition, 0) or part.end <= begin:
                continue
            for batch in _batches(part.path):
                records = _records(batch, ends[part.partition])
                if records:
                    yield part.partition, records

    def chain(self) -> Chain:
        """Return the chain of the archived statements."""
        chain = Chain(PartFile())
        for number, path in enumerate(sorted((self._folder / "statements").glob("*.json"))):
            try:
                header = path.read_bytes()
                statement = decode_statement(header)
                for part, piece in enumerate(_pieces(path.with_suffix(".lines"), statement.parts)):
                    chain.add(number, part_key(statement.month, statement.token, part), piece)
            except (OSError, ValueError, RecursionError) as error:
                raise DamagedFile(f"{path}: the statement is damaged ({error})") from None
            chain.add(number, header_key(statement.month, statement.token), header)
        return chain

    def _last_ms(self, part: Part) -> int:
        """Return the time of the last record in a file. If the file does not contain this time,
        return a very late time."""
        metadata = _metadata_of(part)
        if not metadata.num_row_groups:
            return 0
        last = metadata.row_group(metadata.num_row_groups - 1)
        found = last.column(COLUMNS.index("timestamp_ms")).statistics
        return int(found.max) if found is not None and found.has_min_max else 1 << 62

    def _metadata(self, part: Part) -> dict[bytes, bytes]:
        return _metadata_of(part).metadata or {}


def _metadata_of(part: Part) -> Any:
    import pyarrow.parquet as pq

    with damage_of(part.path):
        return pq.read_metadata(part.path)


def _batches(path: str) -> Iterator[Any]:
    import pyarrow.parquet as pq

    _require_same_bytes(Path(path))
    with damage_of(path):
        file = pq.ParquetFile(path)
    with file:
        batches = file.iter_batches(ROWS_PER_GROUP)
        while True:
            with damage_of(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def sum_path(path: Path) -> Path:
    """Return the path of the file with the SHA-256 of `path`."""
    return path.with_name(path.name + SUM)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 as hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_same_bytes(path: Path) -> None:
    """Raise DamagedFile if the bytes of the file have changed since the file was written."""
    with damage_of(path):
        if not sum_path(path).exists():
            return  # an earlier version wrote this file without a SHA-256
        noted = sum_path(path).read_text("ascii", "replace")[:64]
        if sha256_of_file(path) != noted:
            raise OSError(f"its SHA-256 is not that of {sum_path(path).name}")


def _pieces(path: Path, parts: int) -> Iterator[bytes]:
    """Read a file, and yield its content in `parts` pieces."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(min(parts, MAX_PARTS)):
            yield file.read(-(-size // max(1, parts)))


def parts_of(folder: Path) -> Iterator[Part]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    for path in folder.glob("events/*/*.parquet"):
        if found := _NAME.fullmatch(path.name):
            yield Part(int(found[1]), int(found[2]), int(found[3]), str(path))


def _records(batch: Any, end: int) -> list[ArchivedRecord]:
    names = [f"ce_{name}" for name in HEADERS]
    columns = [batch.column(name).to_pylist() for name in COLUMNS]
    return [
        ArchivedRecord(
            offset,
            timestamp,
            [(name, text) for name, text in zip(names, rest, strict=False) if text is not None],
            rest[-1],
        )
        for _, offset, timestamp, *rest in zip(*columns, strict=True)
        if offset < end
    ]
