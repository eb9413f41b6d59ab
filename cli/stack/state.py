"""Reads and writes .sluice/run/<name>/state.json, where commands find a running pipeline.

The process that runs the pipeline (local/up.py) writes the file; the commands read it. A pipeline
is regarded as not running if its process has ended, even if another process now has the same
process id.

This module also reads the environment in which the services of a running pipeline were started. The
environment is read from the kernel, so variables in the shell of the command do not change it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from cli.stack import paths
from cli.stack.paths import APART, API, SERVICES
from shared.runtime.errors import Unavailable
from shared.settings.secrets import masked

FILE: Final = "state.json"
MAIN: Final = "main"  # The name of a pipeline that is started without --state.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Phase = Literal["starting", "ready", "failed"]
Environment = Mapping[str, str]


class Endpoints(Struct, frozen=True):
    """The address of each endpoint; None if the pipeline lacks the endpoint.

    `up --json` prints this document.
    """

    kafka: str  # The bootstrap server, as host:port.
    redis: str  # The URL, as redis://host:port/0.
    smtp: str | None = None
    smtps: str | None = None
    bounce: str | None = None
    billing: str | None = None  # The URL, as http://host:port.
    api: str | None = None  # The URL of `validate api`, as http://host:port.
    metrics: dict[str, str] = {}  # Maps each process to a URL, as http://host:port/metrics.
    sink: str | None = None  # The address, as host:port.
    ca_file: str | None = None  # SMTP clients have to trust this file.
    kafka_copies: int = 1  # The number of copies of each topic, one per embedded broker.


class Ended(Struct, frozen=True):
    """The number of restarts and the last exit code of a part that ended by itself.

    The exit code is negative if a signal ended the part.
    """

    times: int
    exit_code: int | None


class State(Struct, frozen=True):
    """The state of a pipeline, as the pipeline itself writes it."""

    name: str
    pid: int
    started: str  # The start time; it differs if a later process has the same pid.
    phase: Phase
    endpoints: Endpoints | None = None
    parts: dict[str, int] = {}  # The process id of each part.
    error: str = ""
    ended: dict[str, Ended] = {}  # The parts that have ended, by name.


def described(endpoints: Endpoints) -> list[str]:
    """Return one line per endpoint, for people."""
    single = {
        "kafka": endpoints.kafka,
        "redis": masked("url", endpoints.redis),
        "smtp": endpoints.smtp,
        "smtps": endpoints.smtps,
        "bounce": endpoints.bounce,
        "billing": endpoints.billing,
        "api": endpoints.api,
        "sink": endpoints.sink,
        "CA file": endpoints.ca_file,
    }
    lines = [f"  {name:<9} {address}" for name, address in single.items() if address]
    return lines + [f"  {'metrics':<9} {url}  ({name})" for name, url in endpoints.metrics.items()]


def option(name: str) -> str:
    """Return the option that selects this pipeline in a command; "" for `main`."""
    return "" if name == MAIN else f" --state {name}"


class NotRunning(Unavailable):
    """No pipeline of this name runs on this machine, and no address was given."""

    def __init__(self, name: str) -> None:
        up = f"./sluice up{option(name)}"
        super().__init__(f"the pipeline {name!r} is not running; start it with: {up}")


def is_name(text: str) -> bool:
    """Return True if a pipeline may have this name, which is also the name of its folder."""
    return _NAME.fullmatch(text) is not None


def path_of(name: str) -> Path:
    """Return the path of the file with the state of this pipeline."""
    return paths.run_folder(name) / FILE


def write(state: State) -> None:
    """Write the state in one step, so that a reader sees either the old state or the new one."""
    path = path_of(state.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(f".{os.getpid()}")
    try:
        written.write_bytes(msgspec.json.encode(state))
        written.replace(path)
    except OSError:
        written.unlink(missing_ok=True)
        raise


def read(name: str) -> State | None:
    """Return the state of this pipeline; None if there is no file or the file cannot be read."""
    try:
        return msgspec.json.decode(path_of(name).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None


def remove(name: str) -> None:
    """Remove the state of an ended pipeline."""
    path_of(name).unlink(missing_ok=True)


def start_of(pid: int) -> str:
    """Return the start time of this process in kernel clock ticks; "" if the process has ended."""
    try:
        # Field 2 is the program's name in brackets and may contain any characters.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def is_alive(state: State) -> bool:
    """Return True if the process that wrote this state still runs."""
    return state.started != "" and start_of(state.pid) == state.started


def running(name: str) -> State | None:
    """Return the state of this pipeline; None if the pipeline is not running."""
    state = read(name)
    return state if state is not None and is_alive(state) else None


def names() -> Iterable[str]:
    """Return the names of all pipelines that have a state file."""
    return sorted(path.parent.name for path in paths.RUNS.glob(f"*/{FILE}"))


def environment_of(name: str) -> dict[str, Environment]:
    """Return the environment of each service of this pipeline and of its other running processes.

    The other processes are the API and the processes of `up --apart`. If a service has several
    processes, the environment of the first one is returned. Raises Unavailable.
    """
    found = running(name)
    if found is None:
        raise NotRunning(name)
    others = [name for name in (API, *APART) if name in found.parts]
    return {
        process: _environment(process, found.parts.get(process)) for process in (*SERVICES, *others)
    }


def _environment(service: str, pid: int | None) -> Environment:
    if pid is None:
        raise Unavailable(f"{service} is not running")
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError as error:
        raise Unavailable(
            f"the settings of {service} (process {pid}) cannot be read: {error.strerror}"
        ) from None
    pairs = (each.partition(b"=") for each in block.split(b"\0") if each)
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, _, value in pairs
    }
