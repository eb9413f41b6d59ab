"""`sluice sources`: check judges the source addresses of deliver's settings, on this host.

Run it where deliver runs: whether an address is there is asked of this host. Exit codes: 0 no
error, 1 an error was found, 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import sys

import click

from cli.answer import Exit, fail, print_json, say
from cli.table import Column, lay_out, terminal_width
from services.deliver.core.sources.checking import Finding, Severity
from services.deliver.core.sources.table import SourceTable
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.sources.checks import check_sources
from services.deliver.sending import load_sources
from services.deliver.settings import Settings
from shared.runtime.clock import SystemClock
from shared.runtime.errors import UsageError
from shared.runtime.run_command import run_command
from shared.settings.loader import SettingsError, load


@click.group()
def group() -> None:
    """Check the addresses that mail is sent from."""


@group.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def check(as_json: bool) -> None:
    """Check each source: is its address here, and do its PTR record and EHLO name agree?"""
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


def _pools(table: SourceTable) -> dict[str, dict[str, int]]:
    return {
        name: {one.name: weight for one, weight in pool.members if one.name}
        for name, pool in table.pools.items()
    }


def _has_error(found: list[Finding]) -> bool:
    return any(one.severity is Severity.ERROR for one in found)


if __name__ == "__main__":
    run_command(group, "sources")
