"""The options of the commands on events: since when, how long it may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from cli.control.planning import duration_s
from cli.target import kafka_options
from cli.terminal import progress_bar
from shared.events.log import Progress

F = TypeVar("F", bound=Callable[..., Any])


def common(command: F) -> F:
    """Add --timeout, --kafka, --state and --json."""
    command = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(
        kafka_options(command)
    )
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(1, 86_400),
        default=60.0,
        show_default=True,
        help="Seconds after which reading ends with what was found.",
    )(command)


def ago_ms(option: str, text: str, now_ms: int) -> int:
    """Return the time that is so long ago. Raises click.UsageError."""
    seconds = duration_s(text)
    if seconds is None:
        raise click.UsageError(f"{option}: {text!r} is no duration such as 90s, 30m, 2h or 7d")
    return max(0, now_ms - seconds * 1000)


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show on standard error, at a terminal, how much was read."""
    with progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(total, 1))
