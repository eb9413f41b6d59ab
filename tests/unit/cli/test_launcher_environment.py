"""The launcher's environment: compiled code, and an environment that cannot be made or run."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import environment
from launcher.commands import BYTECODE, ROOT, with_bytecode
from tests.support.launcher import launcher


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"PYTHONDONTWRITEBYTECODE": "1"}, {"PYTHONPYCACHEPREFIX": str(BYTECODE)}),
        ({"PYTHONDONTWRITEBYTECODE": ""}, {"PYTHONDONTWRITEBYTECODE": ""}),
        (
            {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/x"},
            {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/x"},
        ),
    ],
)
def test_who_wants_no_compiled_code_in_the_tree_gets_it_elsewhere(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    assert with_bytecode(given) == expected


def test_an_environment_that_cannot_be_made_is_one_line_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a tree of another user, whose `.venv` is old or missing."""
    wrong = tmp_path / ".sluice"
    wrong.write_text("a file where the folder belongs")
    monkeypatch.setattr(environment, "STATE", wrong)
    monkeypatch.setattr(environment, "STAMP", tmp_path / "stamp")
    assert launcher.main(["down"]) == 3
    said = capsys.readouterr().err
    assert f"{wrong}: File exists; let this user write to {ROOT}" in said
    assert len(said.splitlines()) == 1


def test_a_python_that_cannot_be_run_is_one_line_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(0o600)
    monkeypatch.setattr(launcher, "prepare_environment", lambda: python)
    assert launcher.main(["down"]) == 3
    said = f"sluice: {python} cannot be run: Permission denied; remove {tmp_path / '.venv'} and"
    assert capsys.readouterr().err.startswith(said)
