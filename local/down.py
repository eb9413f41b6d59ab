"""Stop a pipeline. The services finish their work; no process is left.

The data in its Kafka stays for the next `up` of that name; --forget removes it and the logs.
Stopping a pipeline that is not running is not an error. Exit code 1 if something cannot be removed,
3 if the pipeline is another user's.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

import click

from cli.answer import Exit, fail, print_json, say
from cli.stack import paths, state
from cli.stack.state import State
from local.folder import folder_fault
from shared.runtime.commands import run_command

# The services drain for up to 50 s. Then the sink, Redis and Kafka are stopped.
_END_TIMEOUT_S: Final = 110.0
_LOOK_EVERY_S: Final = 0.1


def end(found: State) -> bool:
    """Stop a running pipeline. Returns True if it ended in time and did not have to be killed."""
    os.kill(found.pid, signal.SIGTERM)
    give_up_at = time.monotonic() + _END_TIMEOUT_S
    while state.is_alive(found):
        if time.monotonic() > give_up_at:
            # When this process is killed, the kernel also kills the parts of the pipeline
            # (parent_death.py).
            os.kill(found.pid, signal.SIGKILL)
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


@click.command("down", help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--state", "name", default="main", show_default=True, help="Name of the pipeline.")
@click.option("--forget", is_flag=True, help="Remove the data and the logs of the pipeline, too.")
def main(name: str, *, as_json: bool, forget: bool) -> None:
    """Stop a pipeline."""
    if not state.is_name(name):
        fail(f"--state: {name!r} cannot be the name of a folder", Exit.USAGE_ERROR, as_json)
    found = state.running(name)
    drained = True
    if found is not None:
        try:
            drained = end(found)
        except PermissionError:
            whose = f"the pipeline {name!r} (process {found.pid}) belongs to another user"
            fail(f"{whose}: stop it as that user", Exit.PART_UNAVAILABLE, as_json)
    if not drained:
        say(f"the pipeline did not drain within {_END_TIMEOUT_S:.0f} s and was killed")
    had_data, fault = _tidy(name, forget=forget)
    removed = forget and had_data and not fault
    if fault:
        say(f"the data and logs are not removed: {fault}")
    if as_json:
        document = {"state": name, "stopped": found is not None, "drained": drained}
        print_json({**document, "removed": removed, **({"error": fault} if fault else {})})
    else:
        print(f"the pipeline {name!r} {'is down' if found else 'was not running'}{_data(removed)}")
    sys.exit(Exit.CHECK_FAILED if fault else Exit.OK)


def _data(removed: bool) -> str:
    return "; its data and logs are removed" if removed else ""


def _tidy(name: str, *, forget: bool) -> tuple[bool, str]:
    """Remove the state of a pipeline. If `forget` is set, remove its whole folder.

    Returns a pair: True if the folder existed, and the reason why a part of it remains, or "".
    """
    folder = paths.run_folder(name)
    had_data = os.path.lexists(folder)
    try:
        state.remove(name)
        if forget and had_data:
            remove_folder(folder)
    except OSError as error:
        return had_data, folder_fault(error, Path(str(error.filename or folder)))
    return had_data, ""


def remove_folder(folder: Path) -> None:
    """Remove as much of a folder as possible. Raises OSError if a file cannot be removed."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        # The path in the error is relative to the folder that rmtree was emptying.
        raise OSError(error.errno, error.strerror, str(folder)) from None


if __name__ == "__main__":
    run_command(main, "down")
