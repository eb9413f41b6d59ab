"""What a command says whose output cannot be written, as on a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        ["sluice", "--help"],
        ["-m", "cli.clients.command", "schema"],
        ["-m", "services.billing", "config"],
        ["-m", "tests.support.little_output"],
    ],
    ids=lambda command: command[-1],
)
def test_an_output_that_cannot_be_written_is_one_sentence(command: list[str]) -> None:
    with FULL.open("w") as full:
        ended = subprocess.run(
            [sys.executable, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.stderr == "sluice: the output cannot be written: No space left on device\n"
    assert ended.returncode == 3


def test_a_command_may_have_no_output_at_all() -> None:
    command = f"{sys.executable} -m tests.support.little_output >&-"
    ended = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_reader_that_has_ended_is_no_fault() -> None:
    command = f"{sys.executable} -m cli.clients.command schema | head -c 1"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("{", "")


def test_a_file_on_a_full_disk_is_not_called_the_output() -> None:
    command = [sys.executable, "-m", "tests.support.little_output", "/dev/full"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "OSError" in ended.stderr
    assert "the output cannot be written" not in ended.stderr
