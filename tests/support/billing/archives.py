"""An archive with events, as `billing archive` makes one."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from services.billing.core.month import Months
from services.billing.edge.archive import Archive, ArchivedRecord, Gap
from services.billing.edge.archive_writing import ArchiveWriter
from tests.support.billing.records import ms

LOG = "log-1"
AT_MS = ms("2026-10-05T12:00:00Z")


def record(offset: int) -> ArchivedRecord:
    headers = [("ce_id", b"%d" % offset), ("ce_type", b"sluice.mail.delivered")]
    return ArchivedRecord(offset, AT_MS, headers, b"{}" * (offset % 7))


def add(folder: Path, end: int, begin: int = 0) -> tuple[list[Gap], list[Gap]]:
    """Add the offsets that Kafka has, as `billing archive` does; return filled and lost gaps."""
    return add_all(folder, {0: end}, {0: begin})


def add_all(
    folder: Path, ends: dict[int, int], begins: dict[int, int]
) -> tuple[list[Gap], list[Gap]]:
    """Add events of several partitions, as add() does."""
    writer = ArchiveWriter(folder, LOG, Months(UTC), lambda: begins)
    for gap in writer.lost():
        writer.fill(gap, [(gap.partition, map(record, range(gap.begin, gap.end)))])
    starts = writer.starts()
    for partition, end in ends.items():
        writer.add(partition, map(record, range(starts[partition], end)))
    writer.finish(ends)
    return writer.filled, writer.gaps


def offsets(folder: Path) -> list[int]:
    archive = Archive(folder)
    return [each.offset for _, run in archive.read(archive.ends()) for each in run]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events/*/*.parquet"))
