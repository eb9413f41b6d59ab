"""The commands for months and the signing key: `sluice billing months|close|signing-key`."""

from __future__ import annotations

from contextlib import ExitStack

import click
from msgspec import Struct

from cli.answer import print_json, say
from cli.terminal import Column, Kind, lay_out, terminal_width
from services.billing.cli.opening import (
    Connections,
    answering,
    as_json_option,
    confirm,
    connect_to,
    line_option,
    require_month,
)
from services.billing.core.cells import BILLED
from services.billing.core.closing.chain import Chain
from services.billing.core.closing.statement import Statement, encode_public
from services.billing.core.month import MonthState, state_of
from services.billing.core.usage_api.tables import utc_text
from services.billing.edge import signing_key as keys
from services.billing.edge.log_ends import EndsAsker
from services.billing.edge.statements.closing import Closer, ClosingParts
from services.billing.edge.statements.topic import StatementTopic
from shared.runtime.clock import SystemClock
from shared.runtime.commands import HelpGroup
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints

_CLOSE_WAIT_S = 30.0


class ShownMonth(Struct, frozen=True):
    """A month in the list. All fields except `month` and `state` come from the month's
    statement."""

    month: str
    state: MonthState
    complete: bool = False
    lines: int = 0
    adjustments: int = 0
    sha256: str = ""
    billed: int = 0
    signed: bool = False


@click.command("months")
@as_json_option
@line_option
@answering
def months(as_json: bool, line: str) -> None:
    """List the months and their states.

    A month is open, closing, closed, or earlier than the first statement.
    """
    parts = connect_to(line)
    with ExitStack() as closing:
        topic = StatementTopic(parts.options)
        closing.callback(topic.close)
        topic.read()
        shown = _listed(parts, topic.chain)
    if as_json:
        print_json(shown)
        return
    click.echo("\n".join(month_lines(shown, terminal_width())))


def month_lines(shown: list[ShownMonth], width: int) -> list[str]:
    """Return the lines of a table of months. If a month has no statement, its columns about the
    statement are empty."""
    columns = [Column("month"), Column("state"), Column("complete"), Column("signed")]
    columns += [Column(name, Kind.COUNT) for name in ("billed", "lines", "adjustments")]
    columns.append(Column("SHA-256 of the lines"))
    rows = [[each.month, each.state.value, *_stated(each)] for each in shown]
    return lay_out(columns, rows, width) if rows else ["nothing is counted yet"]


def _stated(month: ShownMonth) -> list[str]:
    if month.state is not MonthState.CLOSED:
        return [""] * 6
    words = ["yes" if each else "NO" for each in (month.complete, month.signed)]
    counts = [str(each) for each in (month.billed, month.lines, month.adjustments)]
    return [*words, *counts, month.sha256]


def _listed(parts: Connections, chain: Chain) -> list[ShownMonth]:
    now_ms = SystemClock().now_ms()
    listed = []
    for month in sorted({*parts.cells.read().versions, *chain.closed}):
        state = state_of(month, chain.closed, parts.months, now_ms)
        closed = chain.closed.get(month)
        if closed is None:
            listed.append(ShownMonth(month, state))
        else:
            found = closed.statement
            listed.append(
                ShownMonth(
                    month,
                    state,
                    found.complete,
                    found.lines,
                    found.adjustments,
                    found.sha256,
                    found.totals.get(BILLED, 0),
                    bool(found.signature),
                )
            )
    return listed


@click.command("close")
@click.argument("month")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--incomplete", is_flag=True, help="Close the month even if its counts are not complete."
)
@as_json_option
@line_option
@answering
def close(month: str, yes: bool, incomplete: bool, as_json: bool, line: str) -> None:
    """Close a month now: write its statement, which never changes afterwards.

    Events of this month that are counted later become adjustments of the next month.
    """
    require_month(month)
    parts = connect_to(line)
    with ExitStack() as closing:
        ends, topic = EndsAsker(parts.options), StatementTopic(parts.options)
        closing.callback(ends.close)
        closing.callback(topic.close)
        topic.read()
        before = topic.chain.closed.get(month)
        may_close = before is None and month < parts.months.of(SystemClock().now_ms())
        if may_close and not yes and not confirm(f"Close {month} for good?"):
            raise UsageError("nothing was closed")
        closer = Closer(
            ClosingParts(
                cells=parts.cells,
                topic=topic,
                ends=ends,
                months=parts.months,
                time_zone=parts.settings.time_zone,
                clock=SystemClock(),
                failpoints=Failpoints.none(),
                key=keys.load(parts.settings.signing_key_file),
            )
        )
        found = closer.close(month, "command", wait_s=_CLOSE_WAIT_S, incomplete=incomplete)
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(statement_lines(found, was_closed=before is not None)))


def statement_lines(found: Statement, *, was_closed: bool) -> list[str]:
    """Return the lines that describe a statement. `was_closed` is True if the month was closed
    before the command ran."""
    totals = ", ".join(f"{number} {counter}" for counter, number in found.totals.items())
    word = f"was closed before, on {utc_text(found.closed_at_ms)}" if was_closed else "is closed"
    return [
        f"{found.month} {word} ({found.time_zone}): {totals or 'nothing was counted'}",
        f"{found.lines} lines, {found.adjustments} of them adjustments, SHA-256 {found.sha256}",
        f"signed with {found.public_key}" if found.signature else "not signed",
    ]


@click.group("signing-key", cls=HelpGroup)
def signing_key() -> None:
    """Create or show the Ed25519 key that signs statements."""


@signing_key.command("create")
@click.argument("path", type=click.Path())
@as_json_option
@answering
def create(path: str, as_json: bool) -> None:
    """Create a key in a new file that only its owner can read; show the public key."""
    key = keys.create(path)
    say(f"the key is in {path}; set billing.signing_key_file to it, and keep a copy safe")
    _show(keys.public_pem(key), encode_public(key.public_key()), as_json)


@signing_key.command("show")
@click.argument("path", type=click.Path(), default="")
@as_json_option
@answering
def show(path: str, as_json: bool) -> None:
    """Show the public key of a key file, by default of billing.signing_key_file."""
    key = keys.load(path or connect_to("").settings.signing_key_file)
    if key is None:
        raise UsageError(
            "billing.signing_key_file: nothing was found, a path is expected; make a key with "
            "`sluice billing signing-key create PATH` and set this setting to PATH"
        )
    _show(keys.public_pem(key), encode_public(key.public_key()), as_json)


def _show(pem: str, raw: str, as_json: bool) -> None:
    if as_json:
        print_json({"public_key": raw, "pem": pem})
    else:
        click.echo(pem, nl=False)
