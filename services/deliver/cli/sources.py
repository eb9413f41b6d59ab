"""The commands of `sluice sources`, which check the source addresses and list their warm-up.

Run the check on a host where the deliver service runs, because the check looks for each address on
the local host. Exit codes: 0 if no error was found, 1 if an error was found, 2 for wrong settings.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import click

from cli.answer import Exit, fail, print_json, say
from cli.options import kafka_options
from cli.terminal import Column, lay_out, terminal_width
from services.deliver.cli.reputation import SourceRow, read_known, source_rows
from services.deliver.core.sources.checking import Finding, Severity
from services.deliver.core.sources.table import SourceTable
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.sources.selecting import check_sources
from services.deliver.sending import load_shaping, load_sources
from services.deliver.settings import Settings
from shared.runtime.clock import SystemClock
from shared.runtime.commands import HelpGroup, run_command
from shared.runtime.errors import UsageError
from shared.settings.loader import SettingsError, load


@click.group(cls=HelpGroup)
def group() -> None:
    """Show and check the addresses that mail is sent from."""


@group.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def check(as_json: bool) -> None:
    """Check each source: its address on this host, its PTR record and its EHLO name."""
    try:
        table = load_sources(load(Settings).settings.deliver)
    except (SettingsError, UsageError) as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    found = asyncio.run(check_sources(table.sources, Resolver(SystemClock().monotonic)))
    if as_json:
        print_json({"findings": found, "pools": _pools(table)})
    elif found:
        columns = [Column("source"), Column("address"), Column("result"), Column("reason")]
        rows = [[one.source, one.address, one.severity.value, one.text] for one in found]
        click.echo("\n".join(lay_out(columns, rows, terminal_width())))
    else:
        say("deliver.sources is empty: the system chooses the address that mail is sent from")
    sys.exit(Exit.CHECK_FAILED if _has_error(found) else Exit.OK)


@group.command("list")
@kafka_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def list_(bootstrap: str, line: str, as_json: bool) -> None:
    """Show the warm-up of each source at each provider that it has sent to."""
    try:
        deliver = load(Settings).settings.deliver
        table, rules = load_sources(deliver), load_shaping(deliver)
    except (SettingsError, UsageError) as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    known = read_known(bootstrap, line)
    if known.fault:
        fail(known.fault, Exit.PART_UNAVAILABLE, as_json)
    rows = source_rows(known, rules)
    if as_json:
        print_json({"sources": table.sources, "warmup": rows})
        return
    for one in table.sources:
        click.echo(f"{one.name}  {one.ehlo_name}  {' '.join(one.addresses)}")
    if not table.sources:
        say("deliver.sources is empty: the system chooses the address that mail is sent from")
    if rows:
        click.echo("\n".join(["", *_warmup_lines(rows)]))


def _warmup_lines(rows: list[SourceRow]) -> list[str]:
    names = ("source", "provider", "step", "limit", "since", "delivered", "failed")
    cells = [
        [
            *(row.source, row.provider, str(row.step), row.limit),
            *(_time(row.since_ms), str(row.delivered), str(row.failed)),
        ]
        for row in rows
    ]
    return lay_out([Column(name) for name in names], cells, terminal_width())


def _time(at_ms: int) -> str:
    if not at_ms:
        return "no mail yet"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _pools(table: SourceTable) -> dict[str, dict[str, int]]:
    return {
        name: {one.name: weight for one, weight in pool.members if one.name}
        for name, pool in table.pools.items()
    }


def _has_error(found: list[Finding]) -> bool:
    return any(one.severity is Severity.ERROR for one in found)


if __name__ == "__main__":
    run_command(group, "sources")
