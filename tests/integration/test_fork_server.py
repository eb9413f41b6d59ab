"""Programs that the tests start by forking are processes like any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.stack import state
from cli.stack.paths import base_environment
from local.process import Process, ProcessSpec
from tests.support.fork_server import fork, run_module
from tests.support.patience import PATIENCE_S

SLEEP = "import time; time.sleep(600)"
# Starts a program and ends without stopping it.
CARELESS = f"""
import os, sys
from pathlib import Path
from local.process import Process, ProcessSpec
from tests.support.fork_server import fork
command = (sys.executable, "-m", "timeit", "-n1", "-r1", {SLEEP!r})
spec = ProcessSpec("sleeper", command, lambda: True, 10.0, 1.0)
print(Process(spec, Path(sys.argv[1]), fork).pid, flush=True)
os._exit(0)
"""


def start(log: Path, code: str, **env: str) -> Process:
    """`timeit` is a module that runs the code it is given."""
    command = (sys.executable, "-m", "timeit", "-n1", "-r1", code)
    return Process(ProcessSpec("one", command, lambda: True, 10.0, 1.0, env), log, fork)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, f"waited too long until {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", 0),
        ("1 / 0", 1),
        ("import os; os._exit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
def test_its_exit_code_is_that_of_the_program(tmp_path: Path, code: str, expected: int) -> None:
    process = start(tmp_path / "log", code)
    assert process.wait(PATIENCE_S)
    assert process.exit_code == expected


def test_it_has_its_own_environment_group_and_output(tmp_path: Path) -> None:
    code = "import os; print(sorted(os.environ), os.environ['OWN'], os.getpgid(0) == os.getpid())"
    process = start(tmp_path / "log", code, OWN="value")
    assert process.wait(PATIENCE_S)
    output = (tmp_path / "log").read_text()
    assert f"{sorted({*os.environ, 'OWN'})} value True" in output


def test_a_command_reads_its_input_and_its_outputs_and_exit_code_are_returned() -> None:
    code = (
        "import os, sys; print(input(), os.environ['OWN'], flush=True)\n"
        "print('no', file=sys.stderr, flush=True); os._exit(3)"
    )
    done = run_module("timeit", "-n1", "-r1", code, env={"OWN": "value"}, stdin="some\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "some value\n", "no\n")


def test_a_command_that_takes_too_long_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_module("timeit", "-n1", "-r1", SLEEP, env={}, timeout_s=0.2)


def test_it_is_paused_and_killed_by_signals(tmp_path: Path) -> None:
    process = start(tmp_path / "log", SLEEP)
    process.signal(signal.SIGSTOP)
    status = Path(f"/proc/{process.pid}/status")
    wait_until(lambda: "stopped" in status.read_text(), "it is stopped")
    process.signal(signal.SIGCONT)
    wait_until(lambda: "stopped" not in status.read_text(), "it goes on")
    assert process.runs
    process.kill()
    assert process.exit_code == -signal.SIGKILL


def test_it_does_not_outlive_the_process_of_the_tests(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CARELESS, str(tmp_path / "log")],
        env={**os.environ, **base_environment()},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    wait_until(lambda: not state.start_of(int(done.stdout)), "it has ended")
