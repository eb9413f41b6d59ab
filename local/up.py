"""Start the whole pipeline on this machine and leave it running.

In the foreground, the pipeline runs until Ctrl-C or SIGTERM; then the command drains and stops all
parts. With --detach, a background process runs the pipeline, and this command returns when all
parts are ready.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

import click
from msgspec import Struct, structs

from cli.answer import Exit, StopAskedError, fail, interruptible, print_json, say
from cli.stack import paths, state
from cli.stack.paths import APART, PROCESSES
from cli.stack.state import Endpoints, State, described
from local.detached import start_detached
from local.folder import usable_folder
from local.outside import Outside, check_servers, find_outside
from local.parts import kafka_cluster, ports
from local.process import PartNotStarted
from local.settings import kept
from local.sink import behaviour
from local.stack import Stack, StackOptions
from shared.runtime.commands import run_command
from shared.settings.loader import SettingsError

_REFRESH_EVERY_S: Final = 0.5
MAX_DELIVER: Final = 10


class Wanted(Struct, frozen=True):
    """The options of the command line."""

    name: str
    deliver: int
    brokers: int
    apart: bool
    base_port: int | None
    kafka: str
    redis: str
    detach: bool
    as_json: bool


@click.command("up", help=__doc__)
@click.option(
    "--detach", is_flag=True, help="Return when all parts are ready; `./sluice down` stops them."
)
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON document.")
@click.option("--state", "name", default="main", show_default=True, help="Name of this pipeline.")
@click.option(
    "--deliver",
    type=click.IntRange(1, MAX_DELIVER),
    default=1,
    show_default=True,
    help="Number of deliver processes.",
)
@click.option(
    "--brokers",
    type=click.Choice((1, kafka_cluster.SIZE)),
    default=1,
    show_default=True,
    help="Number of embedded brokers: 1, or 3 with three copies of each topic.",
)
@click.option(
    "--apart",
    is_flag=True,
    help="Use separate processes to read returned mail and to serve each door.",
)
@click.option(
    "--base-port",
    type=click.IntRange(1_024, 64_000),
    default=None,
    help=f"First of the fixed ports.  [default: {ports.DEFAULT_BASE} for `main`, else free ports]",
)
@click.option("--kafka", default="", metavar="HOST:PORT", help="Use this Kafka; start no broker.")
@click.option("--redis", default="", metavar="URL", help="Use this Redis or Valkey; start none.")
def main(**options: Any) -> None:
    """Start the pipeline."""
    wanted = Wanted(**options)
    name, as_json = wanted.name, wanted.as_json
    if not state.is_name(name):
        fail(f"--state: {name!r} cannot be the name of a folder", Exit.USAGE_ERROR, as_json)
    if state.running(name):
        fail(
            f"the pipeline {name!r} is already running; ./sluice status shows it",
            Exit.USAGE_ERROR,
            as_json,
        )
    try:
        # Report the faults of the settings before anything is started.
        check_servers(wanted.kafka, wanted.redis)
        outside = find_outside(os.environ)
        outside.require_shareable(len(_processes(wanted)))
        _require_embedded(wanted, outside)
        for key in kept(outside, wanted.kafka, wanted.redis):
            say(f"keeping your setting: {key}")
        with interruptible(), usable_folder():
            stack = _make_stack(wanted)
            stack.check_settings()
            if wanted.detach:
                # The new process uses the same ports, so this process releases its reservations.
                ports.release()
                announce(start_detached(name, _options(wanted)), wanted)
            else:
                keep(wanted, stack)
    except SettingsError as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    except PartNotStarted as away:
        fail(str(away), Exit.PART_UNAVAILABLE, as_json)
    except ports.PortInUseError as error:
        advice = "stop it, or choose other ports with --base-port"
        fail(f"{error}: {advice}", Exit.PART_UNAVAILABLE, as_json)
    except StopAskedError:
        # Ctrl-C ends a pipeline in the foreground, but interrupts a detached start.
        sys.exit(Exit.INTERRUPTED if wanted.detach else Exit.OK)


def _require_embedded(wanted: Wanted, outside: Outside) -> None:
    """Refuse the option --brokers if the pipeline uses existing brokers."""
    used = "--kafka" if wanted.kafka else outside.origin("kafka", "bootstrap")
    if wanted.brokers > 1 and used:
        text = f"--brokers {wanted.brokers} starts brokers, but {used} specifies existing brokers"
        fail(f"{text}; leave out one of them", Exit.USAGE_ERROR, wanted.as_json)


def announce(endpoints: Endpoints, wanted: Wanted) -> None:
    """Print the endpoints."""
    if wanted.as_json:
        print_json(endpoints)
        return
    again = state.option(wanted.name)
    print("the pipeline is up:", *described(endpoints), sep="\n")
    if endpoints.sink and not find_outside(os.environ).origin("deliver", "routes"):
        print(*sink_lines(), sep="\n")
    print(f"logs: {paths.run_folder(wanted.name) / 'logs'}")
    print(*ending_lines(again), sep="\n", flush=True)


def sink_lines() -> list[str]:
    """Return lines that describe how the local sink answers."""
    head = "all mail goes to the local sink; the recipient's address determines its answer:"
    return [head, *(f"  {pattern:<20} {what}" for pattern, what in behaviour.ADDRESSES)]


def ending_lines(again: str) -> list[str]:
    """Return the commands for a running pipeline. In these commands, the option `again` selects
    it."""
    return [f"./sluice status{again}  shows its state", f"./sluice down{again}  stops it"]


def keep(wanted: Wanted, stack: Stack) -> None:
    """Start the pipeline in this process and run it. When a signal arrives, StopAskedError is
    raised."""
    pid = os.getpid()
    mine = State(wanted.name, pid, state.start_of(pid), "starting")
    state.write(mine)
    try:
        say("starting the pipeline")
        stack.start()
        mine = structs.replace(mine, phase="ready", endpoints=stack.endpoints, parts=stack.pids())
        state.write(mine)
        announce(stack.endpoints, wanted)
        _refresh(stack, mine)
    except PartNotStarted as away:
        state.write(structs.replace(mine, phase="failed", error=str(away)))
        raise
    except BaseException:
        say("stopping the pipeline: the services finish their work")
        stack.stop()
        state.remove(wanted.name)
        raise


def _make_stack(wanted: Wanted) -> Stack:
    """Plan the pipeline. Raises PortInUseError if one of its fixed ports is in use."""
    options = StackOptions(
        name=wanted.name,
        kafka=wanted.kafka,
        redis=wanted.redis,
        outside=find_outside(os.environ),
        services=_processes(wanted),
        brokers=wanted.brokers,
        base_port=_base_port(wanted),
        is_kafka_optimised=True,
        say=say,
    )
    return Stack(options)


def _processes(wanted: Wanted) -> tuple[str, ...]:
    """Return the names of the processes: the services, the API, and processes that the options
    add."""
    apart = APART if wanted.apart else ()
    return (*PROCESSES, *apart, *(f"deliver-{number}" for number in range(2, wanted.deliver + 1)))


def _base_port(wanted: Wanted) -> int:
    if wanted.base_port is not None:
        return wanted.base_port
    return ports.DEFAULT_BASE if wanted.name == state.MAIN else 0


def _refresh(stack: Stack, mine: State) -> None:
    """Update the process ids in the state file, because restarts change them."""
    fault = ""
    while True:
        time.sleep(_REFRESH_EVERY_S)
        current = structs.replace(
            mine, parts=stack.pids(), endpoints=stack.endpoints, ended=stack.ended()
        )
        if current == mine:
            continue
        before, fault = fault, write_state(current)
        if not fault:
            mine = current
        elif fault != before:
            say(fault)


def write_state(current: State) -> str:
    """Write the state file. A fault is returned as text and not raised, because a full disk must
    not end the pipeline."""
    try:
        state.write(current)
    except OSError as error:
        return f"`./sluice status` may be out of date, because the state cannot be written: {error}"
    return ""


def _options(wanted: Wanted) -> list[str]:
    """Return the options for the background process."""
    named = [("--kafka", wanted.kafka), ("--redis", wanted.redis)]
    options = [part for option, value in named if value for part in (option, value)]
    options += ["--deliver", str(wanted.deliver), "--brokers", str(wanted.brokers)]
    options += ["--apart"] if wanted.apart else []
    if wanted.base_port is not None:
        options += ["--base-port", str(wanted.base_port)]
    return options


if __name__ == "__main__":
    run_command(main, "up")
