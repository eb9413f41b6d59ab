"""What --help prints, for every command and verb."""

from __future__ import annotations

import inspect
import re

import pytest
from click.testing import CliRunner

from tests.support.click_commands import all_commands
from tools import run_tests

COMMANDS = all_commands()
# The rows of a list: a code or a word, two spaces or more, and its meaning; or an indented line.
ROW = re.compile(r"^(\s+\S.*|\S+ {2,}\S.*|- .*)$")


def help_of(name: str, width: int) -> list[str]:
    shown = CliRunner().invoke(
        COMMANDS[name], ["--help"], prog_name=f"./sluice {name}", terminal_width=width
    )
    assert shown.exit_code == 0, shown.output
    return shown.output.splitlines()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns(name: str) -> None:
    assert max(map(len, help_of(name, 80))) <= 80


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("name", COMMANDS)
def test_each_row_of_a_list_stays_a_line(name: str, width: int) -> None:
    text = inspect.cleandoc(COMMANDS[name].help or "")
    rows = [line.strip() for line in text.splitlines() if ROW.match(line)]
    lines = [line.strip() for line in help_of(name, width)]
    assert [row for row in rows if row not in lines] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_list_of_commands_has_whole_sentences(name: str) -> None:
    *_, listed = "\n".join(help_of(name, 80)).partition("\nCommands:\n")
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("name", [name for name in COMMANDS if " " not in name])
def test_help_begins_with_a_sentence_and_not_with_the_command_itself(name: str) -> None:
    assert not (COMMANDS[name].help or "").lstrip().startswith("`")


@pytest.mark.parametrize("asked", [["--help"], ["-h"], ["tests/unit", "--help"]])
def test_help_of_the_tests_installs_nothing(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tests, "missing", lambda: pytest.fail("looked for packages"))
    assert run_tests.main(asked) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: ./sluice test ")
    assert max(map(len, shown.splitlines())) <= 80
