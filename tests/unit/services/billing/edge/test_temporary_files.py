"""Counts that are summed up and sorted in a file; temporary files that cannot be written."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.core.cells import Cell
from services.billing.edge.temporary_files import Compared, DiskUnavailable, PartFile, SortedCounts

texts = st.text(st.characters(codec="utf-8"), max_size=2)
rows = st.lists(
    st.tuples(
        st.sampled_from(["2026-09", "2026-10"]),
        st.builds(Cell, texts, texts, texts, st.sampled_from(["billed", "bytes"]), texts, texts),
        st.integers(-(2**40), 2**40),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(rows, rows, rows, st.integers(0, 12))
def test_counts_are_summed_and_sorted_by_code_points(
    now: list[tuple[str, Cell, int]],
    more: list[tuple[str, Cell, int]],
    before: list[tuple[str, Cell, int]],
    max_unsummed: int,
) -> None:
    sums: dict[tuple[str, str, str, str, str, str, str], list[int]] = {}
    for column, part in ((0, now), (0, more), (1, before)):
        for month, c, number in part:
            key = (month, c.client, c.mailing_id, c.sub_client, c.day, c.counter, c.detail)
            sums.setdefault(key, [0, 0])[column] += number
    expected = [
        Compared(month, Cell(client, mailing, sub, counter, day, detail), *counts)
        for (month, client, mailing, sub, day, counter, detail), counts in sorted(sums.items())
        if counts[0] != counts[1]
    ]
    with closing(SortedCounts(max_unsummed)) as counts:
        counts.add_now(now)
        counts.add_before(before)
        counts.add_now(more)
        assert list(counts.differences()) == expected
        assert counts.months() == sorted({key[0] for key in sums})
        counts.remove("2026-09")
        assert list(counts.differences()) == [e for e in expected if e.month != "2026-09"]


def test_kept_parts_are_read_again_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = PartFile()
    parts = [b"", b"one", os.urandom(100_000)]
    numbers = [kept.add(part) for part in parts]
    assert [kept.get(number) for number in numbers] == parts
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    with pytest.raises(DiskUnavailable, match=r"nothing \(TMPDIR\): FileNotFoundError"):
        PartFile()
