"""A shell that runs this project's commands, and finds the processes that they leave behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from cli.stack import state
from cli.stack.paths import base_environment

WAIT_S = 420.0
MARK = "SLUICE_TEST_MARK"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        time.sleep(0.05)


class Shell:
    """Runs commands whose processes and descendants can all be found by a mark."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.name = f"test-{self.mark[:8]}"
        self.env = {**os.environ, **base_environment(), MARK: self.mark}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd="/",
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err

    def left(self) -> list[int]:
        """Return the processes with the mark that are still alive."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and state.start_of(int(entry.name)):
                try:
                    marked = wanted in (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if marked:
                    found.append(int(entry.name))
        return found

    def assert_nothing_left(self) -> None:
        wait_for(lambda: not self.left(), f"the end of {self.left()}")


class UpLine(Struct, frozen=True):
    """A pipeline that `up --detach` started, the output, and the shell that ran the command."""

    shell: Shell
    endpoints: dict[str, Any]


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60):
        return True


CLIENTS = """
clients:
  - name: newcomer
    sending_domain: news.newcomer.example
    forwarding_address: returns@owner.example.net
    mailing_id: letters
"""
LETTER = (
    b"From: hello@news.newcomer.example\r\nTo: anna@example.net\r\nSubject: First\r\n"
    b"Message-ID: <%d@newcomer>\r\n\r\nIt works.\r\n"
)
