"""Stop a pipeline. The services finish their work; no process is left.

The data in its Kafka stays for the next `up` of that name; --forget removes it and the logs.
Stopping a pipeline that is not running is not an error.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import Final

import click

from cli.answer import Exit, fail, print_json, say
from cli.stack import paths, state
from cli.stack.state import State
from shared.runtime.run_command import run_command

# The services drain for up to 50 s, then the sink, Redis and Kafka are stopped.
_END_TIMEOUT_S: Final = 110.0
_LOOK_EVERY_S: Final = 0.1


def end(found: State) -> bool:
    """Stop a running pipeline. Returns whether it ended by itself in time."""
    os.kill(found.pid, signal.SIGTERM)
    give_up_at = time.monotonic() + _END_TIMEOUT_S
    while state.is_alive(found):
        if time.monotonic() > give_up_at:
            # The kernel then kills its parts too (parent_death.py).
            os.kill(found.pid, signal.SIGKILL)
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


@click.command("down", help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--state", "name", default="main", show_default=True, help="Name of the pipeline.")
@click.option("--forget", is_flag=True, help="Remove its data and logs, too.")
def main(name: str, *, as_json: bool, forget: bool) -> None:
    """Stop a pipeline."""
    if not state.is_name(name):
        fail(f"--state: {name!r} cannot be the name of a folder", Exit.USAGE_ERROR, as_json)
    found = state.running(name)
    drained = True
    if found is not None:
        drained = end(found)
    state.remove(name)
    if forget:
        shutil.rmtree(paths.run_folder(name), ignore_errors=True)
    if not drained:
        say(f"the pipeline did not drain within {_END_TIMEOUT_S:.0f} s and was killed")
    if as_json:
        print_json({"state": name, "stopped": found is not None, "drained": drained})
    else:
        print(
            f"the pipeline {name!r} is down" if found else f"the pipeline {name!r} was not running"
        )


if __name__ == "__main__":
    run_command(main, "down")
