"""An archive whose bytes a disk has changed, and what lies beside its files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.billing.edge.archive import Archive, DamagedFile
from tests.support.billing.archives import add, files, offsets


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


def test_the_sum_of_a_file_that_is_gone_is_removed(tmp_path: Path) -> None:
    for end in (20, 30):
        add(tmp_path, end)
    files(tmp_path)[0].unlink()
    add(tmp_path, 40, begin=12)
    assert sums(tmp_path) == [f"{each}.sha256" for each in map(str, files(tmp_path))]


@pytest.mark.parametrize(
    "left",
    [
        "events/0-00000000000000000020.partial",
        "events/2026-10/0-00000000000000000020-00000000000000000030.parquet.sha256",
        "events/2026-10/0-00000000000000000020-00000000000000000030.parquet.sha256.partial",
        "statements/2026-10.lines.partial",
        "deleted.json.partial",
    ],
)
def test_what_a_process_that_died_has_left_is_removed(tmp_path: Path, left: str) -> None:
    add(tmp_path, 20)
    (tmp_path / left).write_bytes(b"x")
    add(tmp_path, 20)
    assert not (tmp_path / left).exists()
    assert len(sums(tmp_path)) == 1


def sums(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("events/*/*.sha256")))


def test_all_damaged_files_are_named(tmp_path: Path) -> None:
    for end in (20, 30, 40):
        add(tmp_path, end)
    assert Archive(tmp_path).damaged() == []
    for each in files(tmp_path)[1:]:
        each.write_bytes(each.read_bytes()[:-9] + b"x" + each.read_bytes()[-8:])
    found = Archive(tmp_path).damaged()
    assert [each.split(": ")[0] for each in found] == list(map(str, files(tmp_path)[1:]))


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
