"""Run the whole pipeline once, on this machine, with real parts.

The command starts Kafka, Redis, the four services and a sink that acts as the recipients' servers.
It publishes mail of two clients, and compares the bill with the mail that the sink received. The
exit code is 1 if they differ.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from typing import Final

import click

from cli.answer import Exit, StopAskedError, fail, interruptible, print_json, say
from cli.stack import paths, state
from cli.stack.state import State, described
from local.demo.display import Display
from local.demo.reconciliation import result
from local.demo.run import perform
from local.folder import usable_folder
from local.process import PartNotStarted
from local.stack import Stack, StackOptions
from shared.plurals import counted
from shared.runtime.commands import run_command
from shared.runtime.errors import PartUnavailable

DEFAULT_MESSAGES: Final = 2_000
MOST_MESSAGES: Final = 200_000
# The delays between attempts are multiplied by this factor. So one minute becomes 1.2 s.
RETRY_TIME_SCALE: Final = "0.02"
# The folders (logs, the sink's journal) of this many earlier demos are not removed.
_KEPT_RUNS: Final = 3


@click.command("demo", help=__doc__)
@click.option(
    "--messages",
    "count",
    type=click.IntRange(1, MOST_MESSAGES),
    default=DEFAULT_MESSAGES,
    show_default=True,
    help="Number of messages to publish.",
)
@click.option("--stay", is_flag=True, help="Leave the pipeline running until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
def main(count: int, *, stay: bool, as_json: bool) -> None:
    """Run the demo."""
    name = f"demo-{os.getpid()}"
    _forget_earlier_runs()
    mine = State(name, os.getpid(), state.start_of(os.getpid()), "starting")
    try:
        with interruptible(), usable_folder():
            state.write(mine)
            code = _run(mine, count, stay=stay, as_json=as_json)
    except (PartNotStarted, PartUnavailable) as away:
        fail(str(away), Exit.PART_UNAVAILABLE, as_json)
    except StopAskedError:
        fail("the demo was interrupted; all its processes are stopped", Exit.INTERRUPTED, as_json)
    finally:
        state.remove(name)
    sys.exit(code)


def _run(mine: State, count: int, *, stay: bool, as_json: bool) -> Exit:
    env = {
        "SLUICE_DELIVER__RETRY_TIME_SCALE": RETRY_TIME_SCALE,
        "SLUICE_DELIVER__IN_DOUBT_DELAY_S": "0",
        # Each returned message is forwarded at once, so that the numbers of returned and forwarded
        # messages can be compared.
        "SLUICE_VALIDATE__FORWARDS_PER_WINDOW": "1000000",
    }
    stack = Stack(StackOptions(name=mine.name, env=env, say=say))
    started, differ = time.monotonic(), False
    try:
        say("starting Kafka, Redis, four services and a sink")
        stack.start()
        state.write(
            State(mine.name, mine.pid, mine.started, "ready", stack.endpoints, stack.pids())
        )
        say(
            f"all ready after {time.monotonic() - started:.0f} s; "
            f"publishing {counted(count, 'message')}"
        )
        with Display(as_json) as display:
            performance = perform(stack, count, display)
        seconds = time.monotonic() - started
        outcome = result(performance.reckoning, performance.published, seconds)
        differ = not outcome.agree
        if as_json:
            print_json(outcome)
        else:
            display.end(outcome, performance.reckoning, _next_steps(stack, stay=stay))
        if stay:
            _stay(stack)
        return Exit.CHECK_FAILED if differ else Exit.OK
    finally:
        stack.stop()
        if not differ:  # If the counts differ, the data in Kafka may show why they differ.
            stack.forget_data()


def _stay(stack: Stack) -> None:
    say("the pipeline runs until Ctrl-C:\n" + "\n".join(described(stack.endpoints)))
    try:
        while True:
            signal.pause()
    except StopAskedError:
        say("stopping the pipeline")


def _next_steps(stack: Stack, *, stay: bool) -> list[str]:
    shown = stack.folder.relative_to(paths.ROOT)
    bill = f"{stack.endpoints.billing}/v1/usage?month=YYYY-MM" if stay else ""
    return next_steps(str(shown), bill)


def next_steps(folder: str, bill: str) -> list[str]:
    """Return the hints about next steps, which are shown after the demo."""
    name = folder.rpartition("/")[2]
    steps = [
        (f"{folder}/logs/", "the log of each process"),
        (f"{folder}/sink.jsonl", "every answer of the sink"),
        (f"./sluice down --forget --state {name}", "removes both (so do 3 more demos)"),
        ("./sluice up", "runs the pipeline for your own publisher"),
        ("./sluice demo --stay", "runs this demo and leaves it running"),
    ]
    if bill:
        steps[:0] = [(bill, "the bill, as JSON")]
    return [f"{what:<30}  {meaning}" for what, meaning in steps]


def _forget_earlier_runs() -> None:
    """Remove the folders of ended demos, except the latest ones."""
    ended = [
        folder
        for folder in paths.RUNS.glob("demo-*")
        if folder.is_dir() and not state.running(folder.name)
    ]
    ended.sort(key=lambda folder: folder.stat().st_mtime)
    for folder in ended[:-_KEPT_RUNS]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run_command(main, "demo")
