"""Asks every service for its settings by running `python -m services.<name> config --json`.

Commands import no service, so the services answer for themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from cli.answer import Exit
from cli.stack.environment import SERVICES, base_environment, module_of
from shared.settings.describe import Row, in_lines
from shared.settings.sections import SECTIONS

_TIMEOUT_S: Final = 120.0


class SharedRow(Struct, frozen=True):
    """A row and the services that read it so."""

    row: Row
    services: tuple[str, ...]


class ServiceConfigError(RuntimeError):
    """A service could not show its settings; `lines` is what it said, once each."""

    def __init__(self, lines: tuple[str, ...], exit_code: int) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = exit_code


def ask_services(environs: Mapping[str, Mapping[str, str]] | None = None) -> list[SharedRow]:
    """Every service's rows, merged and in the order of the sections.

    `environs`: the environment of each service, and of other processes of a pipeline, by name; by
    default the services have this process's own. Raises ServiceConfigError with the output of every
    one that refused.
    """
    environs = environs or dict.fromkeys(SERVICES, os.environ)
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        answers = list(pool.map(lambda name: _ask(name, environs[name]), environs))
    faults = [answer for answer in answers if answer.returncode != 0]
    if faults:
        said = [line for answer in faults for line in _said(answer)]
        raise ServiceConfigError(tuple(dict.fromkeys(said)), faults[0].returncode)
    read = [msgspec.json.decode(answer.stdout, type=list[Row]) for answer in answers]
    return merge(dict(zip(environs, read, strict=True)))


def ask_service(name: str, environ: Mapping[str, str] | None = None) -> list[Row]:
    """Return the rows of one service. Raises ServiceConfigError with the output of the service."""
    answer = _ask(name, os.environ if environ is None else environ)
    if answer.returncode != 0:
        raise ServiceConfigError(tuple(_said(answer)), answer.returncode)
    return msgspec.json.decode(answer.stdout, type=list[Row])


def ask_module(*command: str) -> str:
    """Return the output of a service's command. Raises ServiceConfigError with its error output."""
    answer = _asked(command, os.environ, f"{command[0]} did not answer")
    if answer.returncode != 0:
        raise ServiceConfigError(tuple(_said(answer)), answer.returncode)
    return str(answer.stdout)


def merge(rows: Mapping[str, list[Row]]) -> list[SharedRow]:
    """Rows that several services read alike become one."""
    readers: dict[bytes, tuple[Row, list[str]]] = {}
    for service, own in rows.items():
        for row in own:
            alike = msgspec.json.encode(row, order="sorted")
            readers.setdefault(alike, (row, []))[1].append(service)
    order = {section: index for index, section in enumerate(SECTIONS)}
    merged = [SharedRow(row, tuple(services)) for row, services in readers.values()]
    # Rows that differ between services are listed together, in the place of the first service.
    keys = list(dict.fromkeys(shared.row.key for shared in merged))
    places = {key: (order[key.partition(".")[0]], at) for at, key in enumerate(keys)}
    merged.sort(key=lambda shared: places[shared.row.key])
    return merged


def in_lines_of(rows: Sequence[SharedRow]) -> list[str]:
    """A line per row for people, with the services where they do not all read the same value."""
    number = Counter(shared.row.key for shared in rows)
    return in_lines(
        [
            structs.replace(shared.row, origin=f"{shared.row.origin}; {', '.join(shared.services)}")
            if number[shared.row.key] > 1
            else shared.row
            for shared in rows
        ]
    )


def _said(answer: subprocess.CompletedProcess[Any]) -> list[str]:
    """The lines of a service, without the name with which each line of a command begins."""
    return [line.removeprefix("sluice: ") for line in answer.stderr.splitlines()]


def _ask(service: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[Any]:
    command = (module_of(service), "config", "--json")
    return _asked(command, environ, f"{service} did not show its settings")


def _asked(
    command: Sequence[str], environ: Mapping[str, str], late: str
) -> subprocess.CompletedProcess[Any]:
    """Run a module with its arguments. `late`: the error text if the module takes too long."""
    words = [sys.executable, "-m", *command]
    try:
        return _run(words, environ)
    except subprocess.TimeoutExpired:
        said = f"{late} within {_TIMEOUT_S:.0f} s; try again"
        return subprocess.CompletedProcess(words, Exit.PART_UNAVAILABLE, "", said)


def _run(command: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[Any]:
    return subprocess.run(
        command,
        env={**environ, **base_environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
