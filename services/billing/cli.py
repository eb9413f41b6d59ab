"""`sluice billing`: serve runs the service; usage, recount, rebuild and adopt-log ask it.

The subcommands query Kafka and Redis directly, so they work while no billing process runs. An
address that the settings do not name is that of the running pipeline (`--state` selects another
one).
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Final, NoReturn, ParamSpec
from zoneinfo import ZoneInfo

import click
from msgspec import Struct, structs
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cli.answer import Exit, fail, print_json, say
from cli.target import find_endpoints
from services.billing.app import serve
from services.billing.core.answer import Usage
from services.billing.core.month import Months, is_month
from services.billing.core.table import as_csv
from services.billing.core.usage import BILLED, COUNTERS, RECEIVED
from services.billing.edge.cells import RedisCells
from services.billing.edge.log_ends import EndsAsker, KafkaUnavailable
from services.billing.edge.recounting import RecountReport, recount
from services.billing.edge.usage_view import MAX_WAIT_S, UsageView
from services.billing.settings import Settings
from shared.audit.event_log import EventLog
from shared.runtime.clock import SystemClock
from shared.runtime.errors import PartUnavailable, Unavailable, UsageError
from shared.runtime.service_cli import run_cli, service_cli
from shared.settings.loader import DEFAULT_ORIGIN, load
from shared.store.client import connect
from shared.stream.client import ClientOptions, options_of

P = ParamSpec("P")

_TEXTS: Final = ("client", "mailing_id", "sub_client")
_PIPED_WIDTH: Final = 200

group = service_cli("billing", Settings, serve)

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_line = click.option("--state", "line", default="", help="Name of a running pipeline.")


class _Doors(Struct, frozen=True):
    """The connections that the subcommands use."""

    options: ClientOptions
    cells: RedisCells
    months: Months


def _open(line: str) -> _Doors:
    """Connect to what the settings name, or else to the running pipeline."""
    loaded = load(Settings)
    settings, origins = loaded.settings, loaded.origins
    kafka, redis = settings.kafka, settings.redis
    is_configured = {origins["kafka.bootstrap"], origins["redis.url"]} != {DEFAULT_ORIGIN}
    doors = find_endpoints(line, kafka.bootstrap, is_configured=is_configured)
    if doors is not None and (line or origins["kafka.bootstrap"] == DEFAULT_ORIGIN):
        kafka = structs.replace(kafka, bootstrap=doors.kafka)
    if doors is not None and (line or origins["redis.url"] == DEFAULT_ORIGIN):
        redis = structs.replace(redis, url=doors.redis)
    return _Doors(
        options_of(kafka, settings.runtime),
        RedisCells(connect(redis.url), settings.billing.cells_key),
        Months(ZoneInfo(settings.billing.time_zone)),
    )


def _answering(command: Callable[P, None]) -> Callable[P, None]:
    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            command(*args, **kwargs)
        except Unavailable as error:
            fail(str(error), Exit.PART_UNAVAILABLE, as_json)
        except UsageError as error:
            fail(str(error), Exit.USAGE_ERROR, as_json)

    return wrapped


@group.command("usage")
@click.option("--month", default="", help="YYYY-MM; default: the present month.")
@click.option("--client", default="", help="Only this client.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, MAX_WAIT_S),
    default=0.0,
    help="Seconds to wait until everything committed is counted; exit code 1 if it is not.",
)
@click.option("--csv", "as_table", is_flag=True, help="Print CSV instead of a table.")
@_json
@_line
@_answering
def usage(month: str, client: str, wait_s: float, as_table: bool, as_json: bool, line: str) -> None:
    """Show the counts of a month by client, mailing ID and sub-client."""
    doors = _open(line)
    month = month or doors.months.of(SystemClock().now_ms())
    if not is_month(month):
        raise UsageError(f"--month: found {month!r}, expected YYYY-MM")
    ends = EndsAsker(doors.options)
    try:
        found = UsageView(doors.cells, ends).read(month, client, wait_s)
    finally:
        ends.close()
    if as_json:
        print_json(found)
    elif as_table:
        click.echo(as_csv(found.month, found.rows), nl=False)
    else:
        _show(found)
    if not found.complete:
        say(f"not complete: {found.reason}")
        sys.exit(Exit.CHECK_FAILED if wait_s else Exit.OK)


def _show(found: Usage) -> None:
    table = Table(title=f"usage of {found.month}")
    names = [*_TEXTS, *(each for each in COUNTERS if _is_shown(each, found))]
    for name in names:
        table.add_column(name, justify="left" if name in _TEXTS else "right", no_wrap=True)
    for row in found.rows:
        table.add_row(*(str(getattr(row, name)) for name in names))
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    if Measurement.get(console, console.options, table).minimum <= console.width:
        console.print(table)
    else:
        click.echo("\n".join(as_blocks(found, names[len(_TEXTS) :], console.width)))


def as_blocks(found: Usage, counters: Sequence[str], width: int) -> list[str]:
    """The rows for a terminal that is too narrow for the table: a few lines for each."""
    lines = [f"usage of {found.month}"]
    for row in found.rows:
        lines.append(" / ".join(getattr(row, name) or "-" for name in _TEXTS))
        counts = " ".join(f"{name}\N{NO-BREAK SPACE}{getattr(row, name)}" for name in counters)
        folded = textwrap.wrap(counts, width, initial_indent="  ", subsequent_indent="  ")
        lines += [line.replace("\N{NO-BREAK SPACE}", " ") for line in folded]
    return lines


def _is_shown(counter: str, found: Usage) -> bool:
    return counter in (BILLED, RECEIVED) or any(getattr(row, counter) for row in found.rows)


@group.command("recount")
@_json
@_line
@_answering
def recount_again(as_json: bool, line: str) -> None:
    """Count all of mail.events again and compare; exit code 1 if anything differs."""
    doors = _open(line)
    with EventLog(doors.options) as log:
        report = recount(log, doors.cells, doors.months)
    if as_json:
        print_json(report)
    else:
        _tell(report)
    sys.exit(Exit.OK if report.agree else Exit.CHECK_FAILED)


def _tell(report: RecountReport) -> None:
    for each in report.differences:
        click.echo(
            f"{each.month} {each.client}/{each.mailing_id}/{each.sub_client} {each.counter}:"
            f" recounted {each.recounted}, live {each.live}"
        )
    for fault in report.faults:
        click.echo(f"{fault.kind.value}: {fault.count}  {', '.join(fault.examples)}")
    if report.reason:
        say(f"not complete: {report.reason}")
    verdict = "agree" if report.agree else "do NOT agree"
    click.echo(f"{report.records} records recounted: the live counts {verdict}")


@group.command("rebuild")
@_json
@_line
@_answering
def rebuild(as_json: bool, line: str) -> None:
    """Drop the live counts; running workers then count again from the beginning."""
    _open(line).cells.drop()
    if as_json:
        print_json({"dropped": True})
    else:
        say("dropped; the workers count again from the beginning of mail.events")


@group.command("adopt-log")
@_json
@_line
@_answering
def adopt_log(as_json: bool, line: str) -> None:
    """Keep the live counts and continue with the present mail.events, from its beginning.

    For a mail.events that was deleted and created again, on purpose or not: billing counts
    nothing until you run this command, or `rebuild`, which drops the counts. The months up to the
    present one stay marked as not complete, because events of the old log may not have been
    counted.
    """
    doors = _open(line)
    ends = EndsAsker(doors.options)
    try:
        found = ends.ask()
    except KafkaUnavailable as error:
        raise PartUnavailable("Kafka", doors.options.bootstrap, str(error)) from error
    finally:
        ends.close()
    month = doors.months.of(SystemClock().now_ms())
    before = doors.cells.adopt(found.log, month, sorted(found.ends))
    adopted = before not in ("", found.log)
    if as_json:
        print_json({"adopted": adopted, "before": before, "log": found.log})
    elif adopted:
        say(f"the counts of the log {before} are kept; {found.log} is counted on top of them")
    else:
        reason = "the counts belong to this log" if before else "there are no counts"
        say(f"nothing to adopt: {reason}")


def main() -> NoReturn:
    """Run the command line and end the process."""
    run_cli(group)
