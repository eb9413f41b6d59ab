"""An archive that lost a file, or whose bytes a disk has changed."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months
from services.billing.edge.archive import Archive, ArchivedRecord, DamagedFile, Gap
from services.billing.edge.archive_files import only_writer
from services.billing.edge.archive_writing import ArchiveWriter
from shared.runtime.errors import UsageError
from tests.support.billing.records import ms
from tests.support.billing.statements import BytesText, encode_lines, lines_of, statement_of

LOG = "log-1"
AT_MS = ms("2026-10-05T12:00:00Z")


def record(offset: int) -> ArchivedRecord:
    headers = [("ce_id", b"%d" % offset), ("ce_type", b"sluice.mail.delivered")]
    return ArchivedRecord(offset, AT_MS, headers, b"{}" * (offset % 7))


def add(folder: Path, end: int, begin: int = 0) -> tuple[list[Gap], list[Gap]]:
    """As `billing archive` does, while Kafka has these offsets; what it fills and what is gone."""
    writer = ArchiveWriter(folder, LOG, Months(UTC))
    lost = writer.lost({0: begin})
    for gap in lost:
        writer.fill(gap, [(0, map(record, range(gap.begin, gap.end)))])
    starts = writer.starts({0: begin})
    writer.add(0, map(record, range(starts[0], end)))
    writer.finish({0: end})
    return lost, writer.gaps


def offsets(folder: Path) -> list[int]:
    archive = Archive(folder)
    return [each.offset for _, run in archive.read(archive.ends()) for each in run]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events/*/*.parquet"))


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_that_is_gone_is_read_again_while_kafka_has_its_events(
    tmp_path: Path, number: int
) -> None:
    for end in (20, 30, 40):
        add(tmp_path, end)
    gone = files(tmp_path)[number]
    gone.unlink()
    begin, end = ((0, 20), (20, 30))[number]
    assert add(tmp_path, 45) == ([Gap(0, begin, end)], [])
    assert offsets(tmp_path) == list(range(45))
    assert gone.exists()
    assert add(tmp_path, 45) == ([], [])


def test_a_lost_file_whose_events_kafka_has_no_more_is_said_each_time(tmp_path: Path) -> None:
    add(tmp_path, 20, begin=5)
    add(tmp_path, 30, begin=5)
    files(tmp_path)[0].unlink()
    for _ in range(2):
        # Only what was deleted before it was archived is known: offsets 0 to 5.
        assert add(tmp_path, 40, begin=12) == ([Gap(0, 12, 20)], [Gap(0, 5, 12)])
        files(tmp_path)[0].unlink()
    assert add(tmp_path, 40, begin=25) == ([], [Gap(0, 5, 20)])


def test_what_was_deleted_before_it_was_archived_is_said_once(tmp_path: Path) -> None:
    assert add(tmp_path, 20, begin=5) == ([], [Gap(0, 0, 5)])
    assert add(tmp_path, 30, begin=10) == ([], [])
    assert add(tmp_path, 60, begin=40) == ([], [Gap(0, 30, 40)])
    assert add(tmp_path, 70, begin=65) == ([], [Gap(0, 60, 65)])
    assert add(tmp_path, 80, begin=65) == ([], [])


def test_an_archive_of_an_earlier_version_notes_what_it_lacks(tmp_path: Path) -> None:
    add(tmp_path, 20, begin=5)
    (tmp_path / "deleted.json").unlink()
    assert add(tmp_path, 20, begin=5) == ([], [Gap(0, 0, 5)])
    assert add(tmp_path, 20, begin=5) == ([], [])


def test_a_list_of_deleted_events_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    add(tmp_path, 20, begin=5)
    (tmp_path / "deleted.json").write_bytes(b"{")
    with pytest.raises(UsageError, match=r"deleted\.json"):
        add(tmp_path, 20)


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        with pytest.raises(UsageError, match="another `billing archive`"), only_writer(tmp_path):
            pass
        add(tmp_path, 10)
    with only_writer(tmp_path):
        pass


def test_what_is_missing_of_a_statement_is_stored_again(tmp_path: Path) -> None:
    lines = lines_of("2026-10", {"2026-10": {encode_cell(Cell("shop", "m", "", "billed")): 3}}, {})
    closed = Closed(statement_of("2026-10", lines), BytesText(encode_lines(lines)), 0)
    writer = ArchiveWriter(tmp_path, LOG, Months(UTC))
    for gone in ("2026-10.lines", "2026-10.json"):
        writer.add_statement(closed)
        (tmp_path / "statements" / gone).unlink()
    writer.add_statement(closed)
    assert Archive(tmp_path).chain().closed["2026-10"].statement == closed.statement


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    add(folder, 3_000)
    return folder


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_no_changed_byte_becomes_another_count_and_the_file_is_named(
    whole: Path, place: float, mask: int
) -> None:
    (path,) = files(whole)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= mask
    path.write_bytes(changed)
    try:
        with pytest.raises(DamagedFile, match=f"{re.escape(str(path))}: the file is damaged"):
            offsets(whole)
    finally:
        path.write_bytes(content)


def test_an_auditor_can_compare_the_sums(whole: Path) -> None:
    (path,) = files(whole)
    program = shutil.which("sha256sum")
    assert program
    subprocess.run([program, "-c", f"{path.name}.sha256"], cwd=path.parent, check=True)


def test_a_file_of_an_earlier_version_has_no_sum_and_is_read(tmp_path: Path) -> None:
    add(tmp_path, 10)
    for each in tmp_path.glob("events/*/*.sha256"):
        each.unlink()
    assert offsets(tmp_path) == list(range(10))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 5_000])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    add(tmp_path, 10)
    files(tmp_path)[0].write_bytes(content)
    for ask in (Archive.id, lambda archive: archive.offsets_at(0), lambda _: offsets(tmp_path)):
        with pytest.raises(DamagedFile, match="damaged"):
            ask(Archive(tmp_path))
