"""Starts Python programs by forking a process that has imported them: the tests' own processes.

Job: run `python -m MODULE ARGUMENTS` as a process of its own without paying again for its imports,
which take most of the CPU of a start. Each program is a real process: it has its own pid, process
group, environment, output file and signals, it can be stopped and killed, and its interpreter ends
as usual. Owns: the one process that is forked (forking.py) and the exit codes that it reports.
Does not own: other programs, which are executed as ever.

On failure: if the process of the tests ends, the connection ends, so forking.py ends, and the
kernel kills its children (PR_SET_PDEATHSIG). A fork server that ended is an error of the test run.
Programs whose memory is measured are to be executed: a forked one shares all modules of all.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from typing import IO, Any, Final

from cli.stack.environment import base_environment
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
        """None while it runs; then its exit code, or the negative number of a signal."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        if not self._ended.wait(timeout) or self._code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._code

    def note_end(self, code: int) -> None:
        """Note the exit code."""
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

    def start(self, program: Sequence[str], env: dict[str, str], out: IO[Any]) -> ForkedChild:
        """Run a module with arguments and this environment; its output goes to the file."""
        request = json.dumps({"program": list(program), "env": env}).encode() + b"\n"
        with self._lock, self._started:
            socket.send_fds(self._socket, [len(request).to_bytes(4, "big")], [out.fileno()])
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


@cache
def _server() -> ForkServer:
    """The fork server of this process, started when it is needed first."""
    return ForkServer()


_starting: Final = threading.Lock()


def fork(spec: ProcessSpec, out: IO[bytes]) -> Child:
    """Start a process of a pipeline: a Python module by forking, anything else by executing."""
    if spec.command[:2] != (sys.executable, "-m"):
        return execute(spec, out)
    with _starting:
        server = _server()
    return server.start(spec.command[2:], {**os.environ, **spec.env, **spec.extra_env}, out)
