"""Runs Postfix's smtp-sink, to which both sides of a comparison send their mail.

smtp-sink is written in C, and its small cost is the same for both sides. So the figures compare the
senders and not the receivers. The counter of smtp-sink (`-c`) shows when a run is complete.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from local.parts import ports

# The listen backlog of smtp-sink. No sender opens this many connections at once.
_BACKLOG: Final = "1000"
_START_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.02

# A report of smtp-sink is `sess=15 quit=2 mesg=200` and a carriage return.
_REPORT: Final = re.compile(rb"mesg=(\d+)\r")
_REPORT_BYTES: Final = 200


class PeerError(RuntimeError):
    """A program of the peer is missing or did not start. The text says which program, and why."""


def free_port() -> int:
    """Return a TCP port of the loopback address that is currently unused."""
    return ports.free_ports(1)[0]


def program(name: str) -> str:
    """Return the path of a Postfix program. Raises PeerError, which says how to install the
    program."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise PeerError(
            f"{name} is missing: apt-get install --no-install-recommends postfix, "
            "or run this with --install-peer as root"
        )
    return path


class SmtpSink:
    """A running smtp-sink. `count()` returns the number of messages that it has accepted."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, output: Path) -> None:
        self.process = process
        self.address = address
        self._output = output

    def count(self) -> int:
        """Return the number of messages accepted since the start."""
        with self._output.open("rb") as file:
            file.seek(max(0, self._output.stat().st_size - _REPORT_BYTES))
            # The last report may be incomplete. A report that is followed by its end mark is
            # complete.
            reports = _REPORT.findall(file.read())
        return int(reports[-1]) if reports else 0

    def wait_for(self, count: int, timeout_s: float) -> float:
        """Wait until `count` messages are accepted, and return the time (Unix seconds)."""
        deadline = time.monotonic() + timeout_s
        while self.count() < count:
            if time.monotonic() > deadline:
                raise PeerError(f"the sink accepted {self.count()} of {count} in {timeout_s:.0f} s")
            time.sleep(_POLL_S)
        return time.time()


@contextmanager
def running(folder: Path) -> Iterator[SmtpSink]:
    """Run an smtp-sink on a free port. smtp-sink writes its counter to a file in `folder`."""
    port = free_port()
    output = folder / f"smtp-sink-{port}.count"
    # If smtp-sink is started by root, it needs the name of a user to switch to.
    user = ["-u", "postfix"] if os.geteuid() == 0 else []
    address = f"127.0.0.1:{port}"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [program("smtp-sink"), *user, "-c", address, _BACKLOG],
            stdout=file,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        _wait_listening(process, port)
        yield SmtpSink(process, address, output)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PeerError(f"smtp-sink exited with {process.returncode} at its start")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(_POLL_S)
    raise PeerError(f"smtp-sink did not listen within {_START_TIMEOUT_S:.0f} s")
