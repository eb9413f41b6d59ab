"""`sluice config show`: prints every setting of every service, with its value and origin.

Owns: asking the services for their settings. Because commands import no service, they run `python
-m services.<name> config --json` for each service.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import click
import msgspec
from msgspec import Struct, structs

from cli.answer import Exit, fail, print_json, say
from cli.stack.paths import SERVICES, base_environment, module_of
from cli.stack.state import environment_of
from shared.runtime.commands import HelpGroup, run_command
from shared.runtime.errors import Unavailable
from shared.settings.describe import Row, in_lines
from shared.settings.sections import SECTIONS

_TIMEOUT_S: Final = 120.0


class SharedRow(Struct, frozen=True):
    """A row of settings, and the services that have the same row."""

    row: Row
    services: tuple[str, ...]


class ServiceConfigError(RuntimeError):
    """A service could not show its settings; `lines` are its error output."""

    def __init__(self, lines: tuple[str, ...], exit_code: int) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = exit_code


def ask_services(environs: Mapping[str, Mapping[str, str]] | None = None) -> list[SharedRow]:
    """Return the rows of all services, merged and in the order of the sections.

    `environs` maps the name of each service, and of each other process of the pipeline, to its
    environment. By default, every service gets the environment of this process. Raises
    ServiceConfigError with the error output of every process that failed.
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
    """Return the rows of one service. Raises ServiceConfigError with the service's error output."""
    answer = _ask(name, os.environ if environ is None else environ)
    if answer.returncode != 0:
        raise ServiceConfigError(tuple(_said(answer)), answer.returncode)
    return msgspec.json.decode(answer.stdout, type=list[Row])


def ask_module(*command: str) -> str:
    """Return the output of a service's command. Raises ServiceConfigError with the error output."""
    answer = _asked(command, os.environ, f"{command[0]} did not answer")
    if answer.returncode != 0:
        raise ServiceConfigError(tuple(_said(answer)), answer.returncode)
    return str(answer.stdout)


def merge(rows: Mapping[str, list[Row]]) -> list[SharedRow]:
    """Merge equal rows of several services into one."""
    readers: dict[bytes, tuple[Row, list[str]]] = {}
    for service, own in rows.items():
        for row in own:
            alike = msgspec.json.encode(row, order="sorted")
            readers.setdefault(alike, (row, []))[1].append(service)
    order = {section: index for index, section in enumerate(SECTIONS)}
    merged = [SharedRow(row, tuple(services)) for row, services in readers.values()]
    # If services have different rows for a key, all these rows are listed at the place of the first
    # row.
    keys = list(dict.fromkeys(shared.row.key for shared in merged))
    places = {key: (order[key.partition(".")[0]], at) for at, key in enumerate(keys)}
    merged.sort(key=lambda shared: places[shared.row.key])
    return merged


def in_lines_of(rows: Sequence[SharedRow]) -> list[str]:
    """Return a line per row for people; the line lists the services if their values differ."""
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
    """Return the error output of a service, without the prefix `sluice: ` of each line."""
    return [line.removeprefix("sluice: ") for line in answer.stderr.splitlines()]


def _ask(service: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[Any]:
    command = (module_of(service), "config", "--json")
    return _asked(command, environ, f"{service} did not show its settings")


def _asked(
    command: Sequence[str], environ: Mapping[str, str], late: str
) -> subprocess.CompletedProcess[Any]:
    """Run a module with its arguments. `late` is the error text if the module takes too long."""
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


@click.group(help="Show the settings.", cls=HelpGroup)
def main() -> None:
    """Group the commands."""


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--state", "name", default="", help="Show the settings of this running pipeline.")
def show(as_json: bool, name: str) -> None:
    """Show each key, its value and its origin; secrets are masked.

    If processes have different values of a key, each value is shown with the names of the
    processes. Without --state, the settings are those that a service started here would use.
    """
    try:
        rows = ask_services(environment_of(name) if name else None)
    except Unavailable as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)
    except ServiceConfigError as error:
        for line in error.lines:
            say(line)
        if as_json:
            print_json({"error": list(error.lines)})
        sys.exit(error.exit_code)
    if as_json:
        print_json([_document(shared) for shared in rows])
        return
    click.echo("\n".join(in_lines_of(rows)))


def _document(shared: SharedRow) -> dict[str, object]:
    row = shared.row
    return {
        "key": row.key,
        "value": row.value,
        "origin": row.origin,
        "services": list(shared.services),
    }


if __name__ == "__main__":
    run_command(main, "config")
