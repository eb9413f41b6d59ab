"""SMTP servers as processes of a test: the smart sink, Postfix's smtp-sink."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.stack.paths import base_environment
from tests.support.patience import PATIENCE_S


def wait_until(
    is_so: Callable[[], bool],
    what: str,
    within_s: float = PATIENCE_S,
    found: Callable[[], object] = lambda: None,
) -> None:
    """Check repeatedly until the condition holds; a failure shows what was `found` instead."""
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, f"waited {within_s} s until {what}; found {found()}"
        time.sleep(0.01)


def whole_lines(journal: Path) -> list[dict[str, Any]]:
    """Return the lines of a sink's journal; the last one may not be written to its end yet."""
    return [json.loads(line) for line in journal.read_bytes().rpartition(b"\n")[0].splitlines()]


class Sink:
    """A running sink: its address, its process, its journal."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.journal = folder / "sink.jsonl"
        state = folder / "sink.json"
        wait_until(lambda: state.exists() or process.poll() is not None, "the sink listens")
        self.address = str(json.loads(state.read_bytes())["address"])
        host, _, port = self.address.rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)

    def lines(self) -> list[dict[str, Any]]:
        return whole_lines(self.journal)

    def verdicts(self) -> list[tuple[str, str]]:
        """(verdict, recipient) of each line, in order."""
        return [(line["verdict"], line["rcpt"]) for line in self.lines()]


@contextmanager
def running_sink(folder: Path, *options: str) -> Iterator[Sink]:
    """Run a sink on a free port, with its files in `folder`."""
    files = ("--journal", str(folder / "sink.jsonl"), "--state", str(folder / "sink.json"))
    process = subprocess.Popen(
        [sys.executable, "-m", "local.sink", "--listen", "127.0.0.1:0", *files, *options],
        env=base_environment(),
    )
    try:
        yield Sink(folder, process)
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
