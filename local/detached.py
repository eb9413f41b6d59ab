"""Starts a pipeline in a background process, and shows the progress of its start.

The background process runs the command `up` without --detach, and writes its messages to up.log in
the folder of the pipeline. Until the pipeline is ready, the waiting command repeats these messages
on its own standard error. Guarantees: if the start fails, takes too long or is interrupted, the
background process ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cli.answer import say
from cli.stack import paths, state
from cli.stack.paths import base_environment
from cli.stack.state import Endpoints
from local.process import PartNotStarted

# The limit is long, because jars and packages may have to be downloaded first.
_TIMEOUT_S: Final = 600.0
_LOOK_EVERY_S: Final = 0.1
_MARK: Final = b"sluice: "  # In the log, messages for the user begin with this mark.


class MessageReader:
    """Reads the messages in a log file. Each call returns the messages that are new after the last
    call."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0

    def read(self) -> list[str]:
        """Return the new messages, without the mark. An incomplete line is returned later."""
        with self._log.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        end = text.rfind(b"\n") + 1
        self._offset += end
        lines = text[:end].splitlines()
        return [
            line.removeprefix(_MARK).decode("utf-8", "replace")
            for line in lines
            if line.startswith(_MARK)
        ]


def start_detached(name: str, options: Sequence[str]) -> Endpoints:
    """Start the pipeline with these options of `up`. Return its endpoints when it is ready.

    Raises PartNotStarted.
    """
    folder = paths.run_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    state.remove(name)
    log = folder / "up.log"
    with log.open("wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "local.up", "--state", name, *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **base_environment()},
            start_new_session=True,
        )
    say(f"the background process {keeper.pid} starts the pipeline (log: {log})")
    try:
        return _await_ready(name, keeper, log)
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise


def _await_ready(name: str, keeper: subprocess.Popen[bytes], log: Path) -> Endpoints:
    messages = MessageReader(log)
    give_up_at = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < give_up_at:
        found = state.read(name)
        for message in messages.read():
            say(message)
        if found is not None and found.pid == keeper.pid:
            if found.phase == "failed":
                raise PartNotStarted(found.error)
            if found.phase == "ready" and found.endpoints is not None:
                return found.endpoints
        if keeper.poll() is not None:
            found = state.read(name)
            ended = f"the pipeline ended before it was ready; its log is {log}"
            raise PartNotStarted(found.error if found and found.error else ended)
        time.sleep(_LOOK_EVERY_S)
    raise PartNotStarted(f"the pipeline was not ready within {_TIMEOUT_S:.0f} s; its log is {log}")
