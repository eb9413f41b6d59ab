"""Completion: what the launcher offers, and its scripts in the shells that this machine has."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher import completion
from launcher.commands import COMMANDS, ROOT
from launcher.completion import SCRIPTS
from launcher.environment import PYTHON
from tests.support.fork_server import run_module
from tests.support.patience import PATIENCE_S

# In zsh the builtins of completion work only inside of it, so they print what they are given.
ZSH_BUILTINS = """compdef() { }
compadd() { print -rl -- ${(P)2} }
_files() { print FILES }
"""
BASH_CALL = """COMP_WORDS=(@LINE@); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _sluice
echo "${COMPREPLY[*]:-FILES}"
"""
ASK = {
    "bash": f"source @SCRIPT@\n{BASH_CALL}",
    "zsh": f"{ZSH_BUILTINS}source @SCRIPT@\nwords=(@LINE@); CURRENT=$#words; _sluice",
    "fish": "source @SCRIPT@; complete -C '@LINE@'",
}


def forked(module: str, env: Mapping[str, str]) -> str:
    """Run a command in a process that has its imports; the shells below execute it."""
    return run_module(module, env=env).stdout


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["cl"], ["clients"]),
        (["clients", "sh"], ["show"]),
        (["billing", "re"], ["rebuild", "recount"]),
        (["clients", "credentials", "ro"], ["rotate"]),
        (["deliver", ""], ["config", "serve"]),
        (["clients", "apply", "-f", "docs/ex"], []),
        (["completion", "z"], ["zsh"]),
        (["help", "bil"], ["billing"]),
        (["help", "billing", ""], []),
        (["nonsense", ""], []),
        ([], list(COMMANDS)),
    ],
)
def test_words_are_completed_as_far_as_they_are_written(
    words: list[str], candidates: list[str]
) -> None:
    assert completion.completions(words, PYTHON, forked) == candidates


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.is_click])
def test_a_click_command_completes_its_options(name: str) -> None:
    assert completion.completions([name, "--hel"], PYTHON, forked) == ["--help"]


@pytest.mark.parametrize(
    "name", [name for name, command in COMMANDS.items() if not command.is_click]
)
def test_completing_any_other_command_starts_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started a process"))
    shells = list(SCRIPTS) if name == "completion" else []
    assert completion.completions([name, ""], PYTHON) == shells


def test_the_tests_are_no_click_command() -> None:
    assert not COMMANDS["test"].is_click


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["billing", "us"], {"usage"}),
        (["billing", "re"], {"rebuild", "recount"}),
        (["completion", "b"], {"bash"}),
        (["test", "tests/contra"], {"FILES"}),
        (["clients", "apply", "-f", "tests/contra"], {"FILES"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_words_and_otherwise_file_names(
    shell: str, words: list[str], offered: set[str], tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text(SCRIPTS[shell])
    line = " ".join(["./sluice", *words])
    ask = ASK[shell].replace("@SCRIPT@", str(script)).replace("@LINE@", line)
    done = subprocess.run(
        [shell, "-c", ask],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    found = set(done.stdout.split())
    assert found == ({"tests/contract/"} if shell == "fish" and "FILES" in offered else offered)
