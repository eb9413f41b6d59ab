"""Usage lines show the command as the user typed it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack.paths import base_environment
from launcher import commands
from tests.support.patience import PATIENCE_S

COMMANDS = sorted(name for name, command in commands.COMMANDS.items() if command.is_click)


def asked(module: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name != "SLUICE_COMMAND"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**own, **base_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_command_as_the_launcher_runs_it(command: str) -> None:
    module = commands.COMMANDS[command].module
    shown = asked(module, "--help", SLUICE_COMMAND="./sluice")
    assert shown.stdout.startswith(f"Usage: ./sluice {command} [")


def test_wrong_use_names_the_command_too() -> None:
    shown = asked("cli.clients.command", "aply", SLUICE_COMMAND="./sluice")
    assert shown.returncode == 2
    assert shown.stderr.startswith("Usage: ./sluice clients [OPTIONS] COMMAND")
    assert "Try './sluice clients --help'" in shown.stderr
    assert "Did you mean 'apply'?" in shown.stderr
    assert asked("cli.clients.command", "aply").stderr.startswith(
        "Usage: python -m cli.clients.command"
    )


def test_a_tab_in_the_file_given_is_told_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "our-clients.yaml"
    path.write_text("clients:\n\t- name: acme\n")
    for module, *command in (
        (
            "cli.clients.command",
            "check",
            "acme",
            "--mail-host",
            "mx.r.example",
            "--clients",
            str(path),
        ),
        ("cli.clients.command", "apply", "-f", str(path), "--kafka", "127.0.0.1:1"),
        ("cli.check.command", str(path), "--clients", str(path)),
    ):
        shown = asked(module, *command)
        assert f"{path}: found a tab on line 2, column 1" in shown.stderr, command
        assert shown.returncode == 2
