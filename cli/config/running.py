"""The environment in which the services of a running pipeline were started.

Read from the kernel, so it is what the processes have, whatever the shell that asks has set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cli.stack import state
from cli.stack.environment import SERVICES
from shared.runtime.errors import Unavailable

Environment = Mapping[str, str]


def environment_of(name: str) -> dict[str, Environment]:
    """The environment of each service of this pipeline. Raises Unavailable.

    Of several processes of a service the first one counts.
    """
    running = state.running(name)
    if running is None:
        raise state.NotRunning(name)
    return {service: _environment(service, running.parts.get(service)) for service in SERVICES}


def _environment(service: str, pid: int | None) -> Environment:
    if pid is None:
        raise Unavailable(f"{service} is not running")
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError as error:
        raise Unavailable(f"the settings of {service} (process {pid}): {error.strerror}") from None
    pairs = (each.partition(b"=") for each in block.split(b"\0") if each)
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, _, value in pairs
    }
