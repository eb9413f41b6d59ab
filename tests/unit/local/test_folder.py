"""A folder of a pipeline that cannot be used is one sentence; `down --forget` says what it did."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.stack import paths
from local.down import main as down
from local.folder import usable_folder, write_whole
from local.process import PartNotStarted
from local.supervisor import Supervisor
from local.up import main as up


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(paths, "RUNS", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "begin",
    [
        lambda folder: Supervisor(folder / "logs", restart=True, say=print),
        lambda folder: write_whole(folder / "ports.json", "{}"),
    ],
)
def test_what_a_start_writes_first_is_told_with_its_path(runs: Path, begin: object) -> None:
    runs.write_text("a file where the folder belongs")
    assert callable(begin)
    with pytest.raises(PartNotStarted, match=f"{runs}.*: Not a directory"), usable_folder():
        begin(runs)


def test_another_users_folder_is_told_with_the_remedy(runs: Path) -> None:
    with pytest.raises(PartNotStarted) as raised, usable_folder():
        raise PermissionError(errno.EACCES, "Permission denied", str(runs / "main" / "logs"))
    assert f"{runs / 'main' / 'logs'}: Permission denied; " in str(raised.value)
    assert f" {paths.STATE})" in str(raised.value)
    assert "chown -R" in str(raised.value)


def test_a_fault_elsewhere_is_not_taken_for_one_of_the_folder(runs: Path) -> None:
    with pytest.raises(PermissionError), usable_folder():
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere")


@pytest.mark.parametrize("more", [[], ["--detach"]])
def test_a_start_in_such_a_folder_is_one_line(runs: Path, more: list[str]) -> None:
    runs.write_text("a file where the folder belongs")
    done = CliRunner().invoke(up, ["--state", "x", *more])
    assert done.exit_code == 3
    assert "Not a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_forgetting_says_what_was_removed(runs: Path) -> None:
    (runs / "main" / "logs").mkdir(parents=True)
    done = CliRunner().invoke(down, ["--forget"])
    said = "the pipeline 'main' was not running; its data and logs are removed\n"
    assert (done.exit_code, done.stdout) == (0, said)
    assert not (runs / "main").exists()
    done = CliRunner().invoke(down, ["--forget"])
    assert (done.exit_code, done.stdout) == (0, "the pipeline 'main' was not running\n")


def test_forgetting_what_cannot_be_removed_says_so(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs / "main"
    folder.mkdir(parents=True)

    def refuse(_: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied", "logs")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    done = CliRunner().invoke(down, ["--forget"])
    assert (done.exit_code, done.stdout) == (1, "the pipeline 'main' was not running\n")
    assert (
        f"sluice: the data and logs are not removed: {folder}: Permission denied; " in done.stderr
    )
    found = json.loads(CliRunner().invoke(down, ["--forget", "--json"]).stdout)
    assert (found["removed"], "Permission denied" in found["error"]) == (False, True)
