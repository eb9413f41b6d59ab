"""An archive that lost a file, or was not continued before Kafka deleted events."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months
from services.billing.edge.archive import Archive, DamagedFile, Gap
from services.billing.edge.archive_files import only_writer
from services.billing.edge.archive_writing import ArchiveWriter
from shared.runtime.errors import UsageError
from tests.support.billing.archives import LOG, add, add_all, files, offsets, record
from tests.support.billing.statements import BytesText, encode_lines, lines_of, statement_of


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


def test_a_file_of_a_whole_archive_that_is_lost_is_named_each_time(tmp_path: Path) -> None:
    for end in (20, 30, 40):
        add(tmp_path, end)
    files(tmp_path)[0].unlink()
    assert [add(tmp_path, 50, begin=25) for _ in range(2)] == [([], [Gap(0, 0, 20)])] * 2


@pytest.mark.parametrize("ends", [(30,), (20, 30)])
def test_the_last_file_that_is_lost_is_named_each_time(
    tmp_path: Path, ends: tuple[int, ...]
) -> None:
    for end in ends:
        add(tmp_path, end, begin=5)
    begin = int(files(tmp_path)[-1].name.split("-")[1])
    files(tmp_path)[-1].unlink()
    assert add(tmp_path, 50, begin=32) == ([], [Gap(0, begin, 30), Gap(0, 30, 32)])
    assert add(tmp_path, 50, begin=32) == ([], [Gap(0, begin, 30)])


def test_the_last_file_that_is_lost_is_read_again_while_kafka_has_its_events(
    tmp_path: Path,
) -> None:
    for end in (20, 30):
        add(tmp_path, end)
    files(tmp_path)[-1].unlink()
    assert add(tmp_path, 40) == ([Gap(0, 20, 30)], [])
    assert offsets(tmp_path) == list(range(40))


def test_a_file_that_was_stored_by_a_process_that_died_then_is_noted(tmp_path: Path) -> None:
    add(tmp_path, 20)
    before = (tmp_path / "deleted.json").read_bytes()
    add(tmp_path, 30)
    (tmp_path / "deleted.json").write_bytes(before)
    add(tmp_path, 30)
    files(tmp_path)[-1].unlink()
    assert add(tmp_path, 50, begin=32) == ([], [Gap(0, 20, 30), Gap(0, 30, 32)])


def test_a_partition_of_which_kafka_has_nothing_more_is_named_once(tmp_path: Path) -> None:
    add(tmp_path, 20)
    assert add(tmp_path, 30, begin=30) == ([], [Gap(0, 20, 30)])
    assert add(tmp_path, 30, begin=30) == ([], [])


def test_an_archive_of_an_earlier_version_notes_all_that_it_lacks(tmp_path: Path) -> None:
    ends, begins = {0: 20, 1: 20}, {0: 5, 1: 6}
    add_all(tmp_path, ends, begins)
    (tmp_path / "deleted.json").unlink()
    assert add_all(tmp_path, ends, begins) == ([], [Gap(0, 0, 5), Gap(1, 0, 6)])
    assert add_all(tmp_path, ends, begins) == ([], [])


def test_an_archive_of_an_earlier_version_that_lacks_nothing_is_one_of_this_version_now(
    tmp_path: Path,
) -> None:
    add(tmp_path, 20)
    (tmp_path / "deleted.json").unlink()
    add(tmp_path, 30)
    files(tmp_path)[0].unlink()
    assert [add(tmp_path, 30, begin=25) for _ in range(2)] == [([], [Gap(0, 0, 20)])] * 2


def test_gaps_that_were_noted_without_the_ends_are_known(tmp_path: Path) -> None:
    add(tmp_path, 20, begin=5)
    (tmp_path / "deleted.json").write_bytes(b'[{"partition":0,"begin":0,"end":5}]')
    assert add(tmp_path, 30, begin=5) == ([], [])


@pytest.mark.parametrize(
    ("first", "gone", "filled"),
    [(16, [Gap(0, 0, 16)], [Gap(0, 16, 20)]), (None, [Gap(0, 0, 20)], [])],
)
def test_what_kafka_deletes_while_a_gap_is_filled_is_a_gap(
    tmp_path: Path, first: int | None, gone: list[Gap], filled: list[Gap]
) -> None:
    add(tmp_path, 20)
    add(tmp_path, 30)
    files(tmp_path)[0].unlink()
    begins = {0: 12}
    writer = ArchiveWriter(tmp_path, LOG, Months(UTC), lambda: begins)
    (gap,) = writer.lost()
    begins[0] = first or 30
    writer.fill(gap, [(0, map(record, range(first, 20)))] if first else [])
    assert (writer.filled, joined(writer.gaps)) == (filled, gone)
    assert Archive(tmp_path).missing() == gone
    # It was archived before: it is named each time.
    assert add(tmp_path, 30, begin=20) == ([], gone)


def test_what_kafka_deletes_while_it_is_read_is_a_gap(tmp_path: Path) -> None:
    add(tmp_path, 20)
    begins = {0: 0}
    writer = ArchiveWriter(tmp_path, LOG, Months(UTC), lambda: begins)
    assert (writer.lost(), writer.starts()) == ([], {0: 20})
    begins[0] = 25
    writer.add(0, map(record, range(27, 30)))
    writer.finish({0: 30})
    assert writer.gaps == Archive(tmp_path).missing() == [Gap(0, 20, 25)]
    assert add(tmp_path, 30, begin=25) == ([], [])


def test_offsets_without_records_that_kafka_has_not_deleted_are_no_gap(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path, LOG, Months(UTC), lambda: {0: 0})
    assert (writer.lost(), writer.starts()) == ([], {0: 0})
    writer.add(0, map(record, range(3, 10)))
    writer.finish({0: 12})
    assert (writer.gaps, Archive(tmp_path).missing()) == ([], [])
    assert add(tmp_path, 12) == ([], [])


def joined(gaps: list[Gap]) -> list[Gap]:
    """Gaps that follow one another, as one."""
    found = list[Gap]()
    for gap in sorted(gaps):
        if found and (found[-1].partition, found[-1].end) == (gap.partition, gap.begin):
            found[-1] = Gap(gap.partition, found[-1].begin, gap.end)
        else:
            found.append(gap)
    return found


def test_a_list_of_deleted_events_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    add(tmp_path, 20, begin=5)
    (tmp_path / "deleted.json").write_bytes(b"{")
    with pytest.raises(DamagedFile, match=r"deleted\.json"):
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
    writer = ArchiveWriter(tmp_path, LOG, Months(UTC), dict)
    for gone in ("2026-10.lines", "2026-10.json"):
        writer.add_statement(closed)
        (tmp_path / "statements" / gone).unlink()
    writer.add_statement(closed)
    assert Archive(tmp_path).chain().closed["2026-10"].statement == closed.statement
