"""The process that fork_server.py forks: imports the services once, then waits for requests.

    python -m tests.support.forking FILE_DESCRIPTOR

It has one thread, so that a fork copies a whole program. It reads requests from the socket, each
with its three standard files, and reports on it `started PID 0` and `ended PID CODE`, where a
negative code is the number of the signal. When the socket ends, it ends together with its children.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from shared.mail.domains import organisational_domain
from shared.responses.rules.loading import load_rules

# What the services and the commands import when they run. pyarrow, which starts a thread, is not
# among them: the services import it when they need it.
MODULES: Final = (
    "services.ingest.app",
    "services.validate.app",
    "services.validate.responses_app",
    "services.validate.held_app",
    "services.validate.api_app",
    "services.deliver.app",
    "services.billing.edge.worker",
    "services.billing.edge.usage_view",
    "services.billing.edge.statements.checkpointing",
    "services.billing.edge.statements.closing",
    "services.billing.settings",
    "litestar",
    "psycopg",
    "uvicorn",
    "xlsxwriter",
)
# These programs are imported to load their imports, and are then removed from sys.modules, so that
# each program is run as in a new process.
PROGRAMS: Final = (
    "local.sink.__main__",
    "cli.audit.command",
    "cli.clients.command",
    "cli.indoubt.command",
    "cli.suppressions.command",
    "cli.responses.command",
    "cli.events.command",
    "cli.queue.command",
    "cli.control.orders",
    "cli.control.suspend",
)
_PR_SET_PDEATHSIG: Final = 1
_PARENT_GONE: Final = 143


def main(descriptor: int) -> None:
    """Serve until the socket ends; then, in each child, run the program as the main module."""
    gc.disable()  # nearly all that is imported stays
    for name in (*MODULES, *PROGRAMS):
        importlib.import_module(name)
    for name in PROGRAMS:
        del sys.modules[name]
    read_files()
    gc.collect()
    gc.freeze()  # so that a child's garbage collector does not change the shared pages
    gc.enable()
    found = serve(socket.socket(fileno=descriptor))
    if found is not None:
        run(*found)


def read_files() -> None:
    """Read the shipped rules and lists, which a process reads once and keeps."""
    load_rules()
    organisational_domain("mail.example.com")


def serve(requests: socket.socket) -> tuple[list[str], dict[str, str], list[int]] | None:
    """Fork for each request. Returns its program in the child, and None at the end."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_inheritable(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end it
    me = os.getpid()
    while True:
        ready, _, _ = select.select([requests.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            report_ended(requests)
        if requests.fileno() not in ready:
            continue
        head, files, _, _ = socket.recv_fds(requests, 4, 3)
        if not head:
            return None
        request = receive(requests, int.from_bytes(head, "big"))
        pid = os.fork()
        if pid == 0:
            tie_to(me)
            for descriptor in (woken, waker):
                os.close(descriptor)
            requests.close()
            return request["program"], request["env"], files
        with_group(pid)
        for descriptor in files:
            os.close(descriptor)
        requests.sendall(f"started {pid} 0\n".encode())


def receive(requests: socket.socket, size: int) -> Any:
    """Read one request."""
    content = b""
    while len(content) < size:
        more = requests.recv(size - len(content))
        if not more:
            raise SystemExit(0)  # the tests have ended
        content += more
    return json.loads(content)


def report_ended(requests: socket.socket) -> None:
    """Report every child that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        requests.sendall(f"ended {pid} {code}\n".encode())


def with_group(pid: int) -> None:
    """Give a child a separate process group; parent and child both do this, in any order."""
    try:
        os.setpgid(pid, pid)
    except (ProcessLookupError, PermissionError):
        return


def tie_to(parent: int) -> None:
    """End with the parent; set signals and the process group as after an execution."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_PARENT_GONE)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, 0)


def run(program: Sequence[str], env: dict[str, str], files: Sequence[int]) -> None:
    """Run a module as `python -m` does, with these standard files."""
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(env)
    module, *arguments = program
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
