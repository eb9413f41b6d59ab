"""Defines the options and arguments that several commands share, and finds a command's Kafka.

Every command parses a domain, a duration or an address in the same way.

A command uses the first Kafka server that it finds in this order: --kafka, the pipeline named by
--state, the setting kafka.bootstrap (environment or TOML file), the running pipeline `main`, the
setting's default if a server answers there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click
from msgspec import Struct, structs

from cli.stack import state
from cli.stack.state import Endpoints
from cli.terminal import progress_bar
from shared.mail.domains import normalise
from shared.runtime.errors import UsageError
from shared.runtime.tcp import answers
from shared.settings.loader import DEFAULT_ORIGIN, Fault, SettingsError, load, variable_of
from shared.settings.sections import KafkaSettings

_VARIABLE: Final = variable_of("kafka", "bootstrap")
F = TypeVar("F", bound=Callable[..., Any])
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class KafkaOnly(Struct, frozen=True):
    """The only section of the settings that these commands read."""

    kafka: KafkaSettings = KafkaSettings()


def kafka_options(command: F) -> F:
    """Add --kafka and --state to a click command."""
    command = click.option(
        "--state", "line", default="", help="Use the running pipeline of this name."
    )(command)
    return click.option(
        "--kafka", "bootstrap", default="", metavar="HOST:PORT", help="Use these Kafka brokers."
    )(command)


def find_kafka(bootstrap: str, line: str) -> KafkaSettings:
    """Return the settings of the Kafka that the command uses. Raises NotRunning, SettingsError."""
    if bootstrap:
        # The loader checks the option in the same way as the setting.
        try:
            return load(KafkaOnly, {**os.environ, _VARIABLE: bootstrap}).settings.kafka
        except SettingsError as error:
            raise SettingsError(map(_named_as_option, error.faults)) from None
    loaded = load(KafkaOnly)
    kafka = loaded.settings.kafka
    is_configured = loaded.origins["kafka.bootstrap"] != DEFAULT_ORIGIN
    endpoints = find_endpoints(line, kafka.bootstrap, is_configured=is_configured)
    if endpoints is None or (is_configured and not line):
        return kafka
    copies = max(kafka.replication, endpoints.kafka_copies)
    return structs.replace(kafka, bootstrap=endpoints.kafka, replication=copies)


def find_endpoints(line: str, bootstrap: str, *, is_configured: bool) -> Endpoints | None:
    """Return the endpoints of the running pipeline `line`, or of `main` if `line` is "".

    If `line` is "" and `main` is not running, return None if the user has configured Kafka or a
    server answers at the default `bootstrap`. Raises NotRunning in all other cases without a
    running pipeline.
    """
    name = line or state.MAIN
    running = state.running(name)
    if running is not None and running.endpoints is not None:
        return running.endpoints
    if line or not (is_configured or any(map(answers, bootstrap.split(",")))):
        raise state.NotRunning(name)
    return None


def _named_as_option(fault: Fault) -> Fault:
    given = f"environment {_VARIABLE}"
    return structs.replace(fault, origin="--kafka") if fault.origin == given else fault


def dns_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --resolver and --timeout to a command."""
    timeout = click.option(
        "--timeout",
        "timeout_s",
        default=20.0,
        show_default=True,
        type=click.FloatRange(min=0.1, max=600),
        metavar="SECONDS",
        help="Time limit for all DNS look-ups together.",
    )
    server = click.option(
        "--resolver",
        "server",
        default="",
        metavar="HOST:PORT",
        help="Ask this DNS server.  [default: the system's]",
    )
    return server(timeout(command))


def require_domain(text: str) -> str:
    """Return a domain, or an address's domain, in lower-case A-labels. Raises UsageError."""
    found = normalise(text.rpartition("@")[2])
    if not found:
        raise UsageError(f"{text!r} is not a domain such as example.com")
    return found


def common(command: F) -> F:
    """Add --timeout, --kafka, --state and --json to a command."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(kafka_options(command))
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(1, 86_400),
        default=60.0,
        show_default=True,
        help="Stop reading after this many seconds, and use the records that were read.",
    )(command)


def ago_ms(option: str, text: str, now_ms: int) -> int:
    """Return the time that is this duration before now. Raises click.UsageError."""
    seconds = duration_s(text)
    if seconds is None:
        raise click.UsageError(f"{option}: {text!r} is not a duration such as 90s, 30m, 2h or 7d")
    return max(0, now_ms - seconds * 1000)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of reading on standard error, if standard error is a terminal."""
    with progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(total, 1))


def duration_s(text: str) -> int | None:
    """Return the duration in seconds that a text such as 90s, 30m, 2h or 7d means; None for other
    text and for 0."""
    return delay_s(text) or None


def delay_s(text: str) -> int | None:
    """Return the duration in seconds, as duration_s() does, but also accept 0."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNIT_S[match[2]] if match else None
