"""The supervisor with small real processes: it restarts, holds and ends them, without leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from cli.stack.paths import base_environment
from cli.stack.state import start_of
from local.process import PartNotStarted, ProcessSpec
from local.supervisor import Supervisor
from tests.support.patience import PATIENCE_S

SLEEPS = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
WITH_A_CHILD = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', "
    "'import time; time.sleep(600)']); print('child', child.pid, flush=True); time.sleep(600)"
)
FAILS = "import sys; sys.exit('no settings')"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


class Stage:
    def __init__(self, logs: Path, restart: bool, tell_every_s: float = PATIENCE_S) -> None:
        self.said: list[str] = []
        self.supervisor = Supervisor(logs, restart, self.said.append, tell_every_s)

    def spec(self, name: str, program: str) -> ProcessSpec:
        log = self.supervisor.log(name)
        return ProcessSpec(
            name=name,
            command=(sys.executable, "-c", program),
            is_ready=lambda: log.exists() and log.stat().st_size > 0,
            ready_timeout_s=PATIENCE_S,
            stop_timeout_s=1.0,
        )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "logs", restart=True)
    yield made
    made.supervisor.stop(())


def test_what_was_killed_does_not_run_when_it_is_started_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "logs", restart=False)
    for number in range(5):
        stage.supervisor.spawn(stage.spec("one", SLEEPS))
        process = stage.supervisor.process("one")
        process.signal(signal.SIGKILL)
        assert process.exit_code == -signal.SIGKILL, f"start {number}"
    stage.supervisor.stop(())


def test_what_dies_is_started_again_and_that_is_said(stage: Stage) -> None:
    stage.supervisor.start([stage.spec("one", SLEEPS)])
    first = stage.supervisor.process("one")
    first.signal(signal.SIGKILL)
    wait_for(lambda: stage.supervisor.process("one").pid != first.pid, "a second process")
    assert stage.supervisor.process("one").runs
    assert stage.supervisor.restarts("one") == 1
    assert "one ended (exit code -9)" in stage.said[0]


def test_what_cannot_be_started_again_is_tried_again_until_it_can(stage: Stage) -> None:
    stage.supervisor.start([stage.spec("one", SLEEPS), stage.spec("two", SLEEPS)])
    first, log = stage.supervisor.process("one"), stage.supervisor.log("one")
    log.unlink()
    log.mkdir()
    first.signal(signal.SIGKILL)
    wait_for(lambda: any("one cannot be started" in line for line in stage.said), "that is said")
    assert stage.supervisor.process("two").runs
    log.rmdir()
    wait_for(lambda: stage.supervisor.process("one").pid != first.pid, "a second process")


def test_what_is_held_stays_down_until_it_is_started(stage: Stage) -> None:
    stage.supervisor.start([stage.spec("one", SLEEPS), stage.spec("two", SLEEPS)])
    held = stage.supervisor.process("one")
    stage.supervisor.hold("one")
    held.signal(signal.SIGKILL)
    # The restart of the other process shows that the watcher has checked since.
    other = stage.supervisor.process("two")
    other.signal(signal.SIGKILL)
    wait_for(lambda: stage.supervisor.process("two").pid != other.pid, "the other's restart")
    assert stage.supervisor.process("one") is held
    assert not held.runs
    stage.supervisor.spawn(stage.supervisor.spec("one"))
    assert stage.supervisor.process("one").runs


def test_a_process_that_ignores_sigterm_is_killed_in_the_end(stage: Stage) -> None:
    stage.supervisor.start([stage.spec("one", STUBBORN)])
    process = stage.supervisor.process("one")
    stage.supervisor.stop((("one",),))
    assert process.exit_code == -signal.SIGKILL
    assert stage.said == ["one did not end within 1 s and was killed"]


def test_a_processs_own_children_end_with_it(stage: Stage) -> None:
    stage.supervisor.start([stage.spec("one", WITH_A_CHILD)])
    child = int(stage.supervisor.log("one").read_text().split()[1])
    assert start_of(child)
    stage.supervisor.stop((("one",),))
    wait_for(lambda: not start_of(child), "the child's end")


def test_what_is_abandoned_is_killed_at_once_with_its_children(stage: Stage) -> None:
    stubborn = structs.replace(stage.spec("one", STUBBORN), stop_timeout_s=PATIENCE_S)
    stage.supervisor.start([stubborn, stage.spec("two", WITH_A_CHILD)])
    one, two = stage.supervisor.process("one"), stage.supervisor.process("two")
    child = int(stage.supervisor.log("two").read_text().split()[1])
    stage.supervisor.abandon()
    assert (one.exit_code, two.exit_code) == (-signal.SIGKILL, -signal.SIGKILL)
    wait_for(lambda: not start_of(child), "the child's end")
    with pytest.raises(PartNotStarted, match="being stopped"):
        stage.supervisor.spawn(stubborn)
    assert not stage.said


def test_a_process_that_fails_to_start_is_named_with_its_last_words(stage: Stage) -> None:
    log = stage.supervisor.log("one")
    spec = ProcessSpec("one", (sys.executable, "-c", FAILS), lambda: False, PATIENCE_S, 1.0)
    with pytest.raises(PartNotStarted, match="exit code 1") as raised:
        stage.supervisor.start([spec])
    assert "no settings" in str(raised.value)
    assert str(log) in str(raised.value)


def test_who_waits_for_a_slow_start_is_told_what_for(tmp_path: Path) -> None:
    stage = Stage(tmp_path, restart=True, tell_every_s=0.1)
    slow = stage.spec("slow", SLEEPS)
    # It is ready once this was said.
    slow = structs.replace(slow, is_ready=lambda: "waiting for slow" in "".join(stage.said))
    try:
        stage.supervisor.start([slow])
    finally:
        stage.supervisor.stop(())


def test_without_restart_the_dead_stay_dead(tmp_path: Path) -> None:
    stage = Stage(tmp_path, restart=False)
    try:
        stage.supervisor.start([stage.spec("one", SLEEPS)])
        stage.supervisor.process("one").signal(signal.SIGKILL)
        wait_for(lambda: not stage.supervisor.process("one").runs, "its end")
        assert stage.supervisor.restarts("one") == 0
    finally:
        stage.supervisor.stop(())


KEEPER = f"""
import sys, time
from pathlib import Path
from local.process import ProcessSpec
from local.supervisor import Supervisor
supervisor = Supervisor(Path(sys.argv[1]), True, print)
spec = ProcessSpec("one", (sys.executable, "-c", {STUBBORN!r}), lambda: True, 10.0, 1.0)
supervisor.start([spec])
print(supervisor.process("one").pid, flush=True)
time.sleep(600)
"""


def test_kill_9_of_the_supervisor_leaves_nothing(tmp_path: Path) -> None:
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **base_environment()},
    )
    with keeper:
        assert keeper.stdout is not None
        kept = int(keeper.stdout.readline())
        assert start_of(kept)
        keeper.kill()
    wait_for(lambda: not start_of(kept), "the end of what it kept")
