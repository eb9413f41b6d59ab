"""`sluice tls`: shows operators the results of TLS in deliveries.

Owns: the command and its output. Does not own: the counters (shared/store/tls_counts.py). Exit
codes: 2 wrong usage, 3 Redis is unavailable.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

import click

from cli.answer import print_json
from cli.clients.faults import answering
from cli.options import require_domain
from cli.suppressions.topic import find_redis
from cli.terminal import Column, Kind, lay_out, terminal_width
from shared.runtime.clock import now_ms
from shared.runtime.commands import HelpGroup, run_command
from shared.store.client import connect
from shared.store.tls_counts import TlsCount, read_counts

_COLUMNS: Final = (
    Column("domain"),
    Column("policy"),
    Column("result"),
    Column("attempts", Kind.COUNT),
)


@click.group(help="Show the results of TLS connections to other servers.", cls=HelpGroup)
def main() -> None:
    """Run one of the commands."""


@main.command()
@click.option(
    "--day", default="", metavar="DATE", help="The day (UTC), such as 2026-12-01.  [default: today]"
)
@click.option("--domain", default="", help="Only this recipient domain.")
@click.option("--state", "line", default="", help="Use the running pipeline of this name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@answering
def report(day: str, domain: str, line: str, as_json: bool) -> None:
    """Show the attempts of a day by domain, policy and result (RFC 8460)."""
    chosen, wanted = _day(day), require_domain(domain) if domain else ""
    counts = read_counts(connect(find_redis(line)), chosen)
    rows = [
        (count, number)
        for count, number in sorted(counts.items(), key=lambda row: _key(row[0]))
        if wanted in ("", count.domain)
    ]
    if as_json:
        print_json({"day": chosen, "rows": [_document(*row) for row in rows]})
        return
    if not rows:
        click.echo("no attempts were counted")
        return
    table = [[count.domain, count.policy, count.result, str(number)] for count, number in rows]
    for text in lay_out(_COLUMNS, table, terminal_width()):
        click.echo(text)


def _key(count: TlsCount) -> tuple[str, str, str]:
    return count.domain, count.policy, count.result


def _document(count: TlsCount, number: int) -> dict[str, str | int]:
    return {
        "domain": count.domain,
        "policy": count.policy,
        "result": count.result,
        "attempts": number,
    }


def _day(text: str) -> str:
    if not text:
        return f"{datetime.fromtimestamp(now_ms() / 1_000, UTC):%Y-%m-%d}"
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.UsageError(f"--day: {text!r} is not a day such as 2026-12-01") from None


if __name__ == "__main__":
    run_command(main, "tls")
