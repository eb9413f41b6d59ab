"""The options, connections and errors that the commands of `sluice billing` share.

The commands query Kafka and the store directly, so they also work while no billing process runs. If
the settings do not name an address, the commands use the address of the running pipeline. The
option `--state` selects another pipeline.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec
from zoneinfo import ZoneInfo

import click
from msgspec import Struct, structs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.answer import Exit, fail
from cli.options import find_endpoints
from services.billing.core.month import Months, is_month
from services.billing.edge.archive import DamagedFile
from services.billing.edge.cells import Cells, open_cells
from services.billing.settings import BillingSettings, Settings
from shared.runtime.errors import Unavailable, UsageError
from shared.settings.loader import DEFAULT_ORIGIN, load
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, options_of

P = ParamSpec("P")

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
)
line_option = click.option(
    "--state", "line", default="", help="Use the running pipeline of this name."
)


class Connections(Struct, frozen=True):
    """The connections that the commands use."""

    options: ClientOptions
    cells: Cells
    months: Months
    settings: BillingSettings
    kafka: KafkaSettings


def connect_to(line: str) -> Connections:
    """Connect to the addresses in the settings. If an address is not set, use the address of the
    running pipeline."""
    loaded = load(Settings)
    settings, origins = loaded.settings, loaded.origins
    kafka, redis = settings.kafka, settings.redis
    is_configured = {origins["kafka.bootstrap"], origins["redis.url"]} != {DEFAULT_ORIGIN}
    endpoints = find_endpoints(line, kafka.bootstrap, is_configured=is_configured)
    if endpoints is not None and (line or origins["kafka.bootstrap"] == DEFAULT_ORIGIN):
        kafka = structs.replace(kafka, bootstrap=endpoints.kafka)
    if endpoints is not None and (line or origins["redis.url"] == DEFAULT_ORIGIN):
        try:
            redis = structs.replace(redis, url=endpoints.redis)
        except ValueError as error:  # for example, a CA file is set, but the URL does not use TLS
            raise UsageError(str(error)) from None
    return Connections(
        options_of(kafka, settings.runtime),
        open_cells(settings.billing, redis, is_waited_for=True),
        Months(ZoneInfo(settings.billing.time_zone)),
        settings.billing,
        kafka,
    )


def answering(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command. The decorated command reports an error as one line of text and an exit
    code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            command(*args, **kwargs)
        except Unavailable as error:
            fail(str(error), Exit.PART_UNAVAILABLE, as_json)
        except DamagedFile as error:
            fail(str(error), Exit.CHECK_FAILED, as_json)
        except UsageError as error:
            fail(str(error), Exit.USAGE_ERROR, as_json)

    return wrapped


def require_month(text: str, option: str = "MONTH") -> str:
    """Return `text`. Raises UsageError if `text` is not a month."""
    if not is_month(text):
        raise UsageError(f"{option}: {text!r} is not a month; give YYYY-MM, for example 2026-07")
    return text


def confirm(question: str) -> bool:
    """Ask a yes-or-no question on standard error; return True for yes. Raises UsageError if
    standard input is not a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} Nobody can answer, because this is not a terminal: give --yes"
        )
    return click.confirm(question, err=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if standard error is a terminal; yield a function that advances the
    bar."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=max(total, 1))
        yield lambda number: bar.advance(task, number)
