"""Runs schedules and judges the results.

Job: keep a stage for each kind of membership, run a script on it (the steps of a schedule,
or a function that does something else to the pipeline), then check the run with
the ledger checker, `sluice audit` and `sluice billing recount`.

A stage is reused a few times after clean runs. After a run with faults the stage is
ended and its logs are kept, so that no fault is reported for a later run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from cli.stack.paths import SERVICES
from tests.support.chaos import mixture
from tests.support.chaos.fleet import ENV, Fleet
from tests.support.chaos.injector import Injector
from tests.support.chaos.results import Result, Results, with_counts
from tests.support.chaos.scenario import (
    Grow,
    Kill,
    Pause,
    RestartBroker,
    Scenario,
    Shrink,
    Step,
    copies_allowed,
)
from tests.support.chaos.stage import MAX_IN_FLIGHT, Run, Stage, stage_name
from tests.support.fork_server import run_module
from tests.support.patience import PATIENCE_S

# Audit and recount read all events of the stage, and all topics are read by all groups.
RUNS_ON_A_STAGE: Final = 5
WARM_UP_S: Final = 4.0
# The load ends with the last step; this bounds the number of its messages.
LONGEST_LOAD_S: Final = 480.0
# Without the handover topic, a revoked partition waits for its slowest message, at most 90 s.
# A transaction that nobody ends blocks others for 15 minutes; in this case the run must fail.
SETTLE_TIMEOUT_S: Final = 300.0
FAILPOINT_TIMEOUT_S: Final = 20.0
_COMMAND_TIMEOUT_S: Final = 120.0

Say = Callable[[str], None]


class Scene(Struct, frozen=True):
    """The inputs of a script."""

    name: str
    seed: int
    stage: Stage
    fleet: Fleet
    say: Say


# Acts on the pipeline of a scene under load; returns the run and its injector.
Script = Callable[[Scene], tuple[Run, Injector]]


class Scenes:
    """Runs scripts on stages of either membership; one stage exists at a time."""

    def __init__(self, results: Results, say: Say) -> None:
        self._results = results
        self._say = say
        self._stage: Stage | None = None
        self._fleet: Fleet | None = None
        self._is_static = False
        self._runs = 0
        self._stages = 0

    def play(self, scenario: Scenario) -> None:
        """Run a schedule; AssertionError with all failed checks."""
        self.perform(
            Result(scenario.kind, scenario.name, scenario.seed, scenario.is_static, 0.0),
            lambda scene: play(scene, scenario),
        )

    def perform(self, about: Result, script: Script) -> None:
        """Run a script and judge it; AssertionError with all failed checks."""
        stage, fleet = self._open(about.is_static)
        started = time.monotonic()
        result = about
        scene = Scene(about.name, about.seed, stage, fleet, self._say)
        try:
            run, injector = script(scene)
            findings = stage.settle(run, injector, lambda: not fleet.in_flight(), SETTLE_TIMEOUT_S)
            result = with_counts(about, findings, run.copies_bound)
            result = replace(result, silence_s=round(stage.longest_silence_s(run), 1))
            faults = [] if findings.clean else [findings.explain()]
            faults += checks(stage)
            fault = "\n".join(faults)
        except Exception as error:  # any exception that ends a run is a finding
            fault = f"{type(error).__name__}: {error}"
        result = replace(result, seconds=round(time.monotonic() - started, 1), fault=fault)
        self._results.add(result)
        self._say(_told(result))
        if fault:
            self.close(keep=True)
            raise AssertionError(f"{about.name}: {fault}\nlogs: {stage.stack.folder / 'logs'}")

    def close(self, keep: bool = False) -> None:
        """Check every run of the stage again and end the stage; `keep` keeps the logs."""
        stage, self._stage, self._fleet = self._stage, None, None
        if stage is None:
            return
        try:
            for run in [] if keep else stage.finished_runs():
                findings = stage.judge(run)
                keep = keep or not findings.clean
                assert findings.clean, f"{run.name}, looked at again: {findings.explain()}"
        finally:
            stage.close(keep=keep)

    def _open(self, is_static: bool) -> tuple[Stage, Fleet]:
        stage, fleet = self._stage, self._fleet
        is_used_up = self._is_static is not is_static or self._runs >= RUNS_ON_A_STAGE
        if stage is not None and is_used_up:
            self.close()
            stage = None
        if stage is None or fleet is None:
            env = {**ENV, "SLUICE_KAFKA__STATIC_MEMBERSHIP": str(is_static).lower()}
            self._stages += 1
            stage = self._stage = Stage(f"{stage_name()}-scenes-{self._stages}", env)
            fleet = self._fleet = Fleet(stage)
            self._is_static, self._runs = is_static, 0
        else:
            fleet.reset()
        self._runs += 1
        return stage, fleet


def play(scene: Scene, scenario: Scenario) -> tuple[Run, Injector]:
    """Run the steps of a schedule under load."""
    scene.fleet.grow(SERVICES, scenario.processes)
    run = scene.stage.open_run(scenario.name, scenario.seed)
    rate = scenario.rate_per_s
    fates = mixture.BY_SLOWEST_S[scenario.slowest_s]
    injector = run.inject(int(rate * LONGEST_LOAD_S), rate, fates=fates)
    injector.wait_for(int(rate * WARM_UP_S), PATIENCE_S)
    for step in scenario.steps:
        scene.say(f"{scenario.name}: after {injector.acknowledged} messages: {step}")
        run.copies_bound += copies_allowed(step, MAX_IN_FLIGHT)
        perform(scene, run, step)
        more = injector.acknowledged + int(rate * scenario.gap_s)
        injector.wait_for(more, PATIENCE_S)
        scene.stage.look_after_parts(run)
    scene.fleet.wait_ready()
    injector.stop()
    return run, injector


def perform(scene: Scene, run: Run, step: Step) -> None:
    """Run one step."""
    stage, fleet = scene.stage, scene.fleet
    match step:
        case Pause(who, seconds):
            names = [fleet.members(service)[place] for service, place in who]
            fleet.pause(names, seconds, run)
        case Grow(services, to):
            fleet.grow(services, to)
        case Shrink(services, survivor):
            members = {service: fleet.members(service) for service in services}
            fleet.end([n for m in members.values() for n in m if n != m[survivor]])
        case Kill(service, place, ""):
            fleet.kill(fleet.members(service)[place])
            fleet.start(service)
        case Kill(service, _, failpoint):
            fleet.die_at_failpoint(service, failpoint, FAILPOINT_TIMEOUT_S)
            fleet.start(service)
        case RestartBroker():
            stage.stack.stop_part("kafka")
            stage.restart("kafka")
            stage.stack.wait_ready("kafka")


def checks(stage: Stage) -> list[str]:
    """Return the faults reported by `sluice audit` and `sluice billing recount`."""
    environ = {
        "SLUICE_KAFKA__BOOTSTRAP": stage.bootstrap,
        "SLUICE_REDIS__URL": stage.stack.endpoints.redis,
    }
    commands = {
        "audit": ("cli.audit.command", "--settled", "--kafka", stage.bootstrap),
        "recount": ("services.billing", "recount"),
    }
    faults = []
    for name, command in commands.items():
        done = run_module(*command, env=environ, timeout_s=_COMMAND_TIMEOUT_S)
        if done.returncode != 0:
            faults.append(f"{name} exits {done.returncode}:\n{done.stdout}{done.stderr}")
    return faults


def _told(result: Result) -> str:
    said = result.fault.partition("\n")[0] if result.fault else "holds"
    return (
        f"{result.name}: {result.messages} messages, {result.final_events} final events, "
        f"{result.second_copies} second copies of {result.copies_allowed} allowed, "
        f"bill {result.bill_difference:+}, {result.seconds} s, "
        f"longest silence {result.silence_s} s: {said}"
    )
