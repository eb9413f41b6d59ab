"""Starts Python programs by forking a process that has imported them: the tests' own processes.

Job: run `python -m MODULE ARGUMENTS` as a separate process without repeating the imports, which
take most of the CPU time of a start. Each program is a real process: it has its own pid, process
group, environment, output file and signals, it can be stopped and killed, and its interpreter ends
as usual. Owns: the one process that is forked (forking.py) and the exit codes that it reports.
Does not own: other programs, which are executed and not forked.

On failure: if the process of the tests ends, the connection ends, so forking.py ends, and the
kernel kills its children (PR_SET_PDEATHSIG). A fork server that ended is an error of the test run.
If the memory of a program is measured, execute the program, because a forked program shares the
imported modules with all others.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

from cli.stack.paths import base_environment
from local.process import Child, ProcessSpec, execute

_MODULE: Final = "tests.support.forking"
_START_TIMEOUT_S: Final = 120.0


class ForkedChild:
    """A forked program, with those methods of subprocess.Popen that local/process.py uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = threading.Event()
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return None while the program runs; then its exit code (negative: that of a signal)."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the program ends. Raises subprocess.TimeoutExpired."""
        if not self._ended.wait(timeout) or self._code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._code

    def note_end(self, code: int) -> None:
        """Store the exit code."""
        self._code = code
        self._ended.set()


class ForkServer:
    """The process that is forked. Methods may be called from any thread."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", _MODULE, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **base_environment()},
                stdin=subprocess.DEVNULL,
            )
        self._socket = ours
        self._lock = threading.Lock()
        self._started = threading.Condition()
        self._new: list[ForkedChild] = []
        self._children: dict[int, ForkedChild] = {}
        threading.Thread(target=self._follow, name="fork-server", daemon=True).start()

    def start(
        self, program: Sequence[str], env: Mapping[str, str], files: Sequence[IO[Any]]
    ) -> ForkedChild:
        """Run a module with arguments, this environment, and these three standard files."""
        request = json.dumps({"program": list(program), "env": dict(env)}).encode() + b"\n"
        descriptors = [file.fileno() for file in files]
        with self._lock, self._started:
            socket.send_fds(self._socket, [len(request).to_bytes(4, "big")], descriptors)
            self._socket.sendall(request)
            if not self._started.wait_for(lambda: bool(self._new), _START_TIMEOUT_S):
                raise RuntimeError(f"the fork server does not answer: {self._process.poll()}")
            return self._new.pop()

    def _follow(self) -> None:
        with self._socket.makefile("r") as lines:
            for line in lines:
                word, pid, code = line.split()
                if word == "started":
                    child = self._children[int(pid)] = ForkedChild(int(pid))
                    with self._started:
                        self._new.append(child)
                        self._started.notify_all()
                else:
                    self._children.pop(int(pid)).note_end(int(code))


_starting: Final = threading.Lock()


@cache
def _server() -> ForkServer:
    return ForkServer()


def server() -> ForkServer:
    """Return the fork server of this process, which is started at its first use."""
    with _starting:
        return _server()


def fork(spec: ProcessSpec, out: IO[bytes]) -> Child:
    """Start a process of a pipeline: a Python module by forking, anything else by executing."""
    if spec.command[:2] != (sys.executable, "-m"):
        return execute(spec, out)
    env = {**os.environ, **spec.env, **spec.extra_env}
    with Path(os.devnull).open("rb") as nothing:
        return server().start(spec.command[2:], env, (nothing, out, out))


def run_module(
    *program: str, env: Mapping[str, str], stdin: str = "", timeout_s: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Run a command, given by module and arguments, until it ends, as subprocess.run does.

    `env` is added to that of this process. Raises subprocess.TimeoutExpired.
    """
    with ExitStack() as open_files:
        files = [open_files.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin.encode())
        files[0].seek(0)
        child = server().start(program, {**os.environ, **base_environment(), **env}, files)
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        texts = [_text_of(file) for file in files[1:]]
        return subprocess.CompletedProcess(program, code, *texts)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
