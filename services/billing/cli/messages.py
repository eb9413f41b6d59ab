"""The command `sluice billing messages`, which lists the ids of the mails that a counter counts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final

import click
import msgspec
from msgspec import Struct

from cli.answer import Exit, say
from services.billing.cli.opening import Connections, answering, connect_to, line_option
from services.billing.cli.stated import live_option, require_known, statement_of
from services.billing.core.cells import decode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.closing.lines import cell_of
from services.billing.core.usage_api.query import QueryFault
from services.billing.core.usage_api.tables import Table, csv_lines
from services.billing.core.usage_messages import (
    COLUMNS,
    KINDS,
    ListedMail,
    Unnamed,
    Wanted,
    named_of,
    require_listable,
    row_of,
)
from services.billing.edge.archive import Archive
from services.billing.edge.cells import Cells
from services.billing.edge.messages import list_messages
from services.billing.edge.recounting import JoinedLog
from shared.audit.event_log import EventLog
from shared.plurals import counted
from shared.runtime.clock import SystemClock
from shared.runtime.errors import UsageError
from shared.store.read_pieces import as_copy_if_changed

_FOLDER: Final = click.Path(path_type=Path)


class _Number(Struct, frozen=True):
    """The number of mails to list, the id of the event log that was counted, and the offsets up to
    which this log was counted."""

    mails: int
    log: str
    offsets: dict[int, int]


@click.command("messages")
@click.option("--month", required=True, help="YYYY-MM")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    metavar="KIND",
    default="billed",
    help=f"The counter whose mails are listed: {', '.join(KINDS)}.  [default: billed]",
)
@click.option("--day", default="", help="Only this day (YYYY-MM-DD).  [default: the whole month]")
@click.option("--client", default=None, help="Only mail of this client.")
@click.option("--mailing", default=None, help="Only mail of this mailing ID.")
@click.option(
    "--sub-client",
    default=None,
    help='Only mail of this sub-client; "" means mail without a sub-client.',
)
@click.option("--detail", default="", help="Only mail with this rule, reason or class.")
@click.option(
    "--archive",
    "folder",
    type=_FOLDER,
    help="Read events from this archive first, then from Kafka.",
)
@click.option(
    "--all", "from_start", is_flag=True, help="Read all events, not only those of the month."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of JSON lines.")
@live_option
@line_option
@answering
def messages(  # noqa: PLR0913, PLR0917 - the options of a command
    month: str,
    kind: str,
    day: str,
    client: str | None,
    mailing: str | None,
    sub_client: str | None,
    detail: str,
    folder: Path | None,
    from_start: bool,
    as_csv: bool,
    live: bool,
    line: str,
) -> None:
    """List the mails that a count of a month consists of, one per line.

    For a closed month, the count is that of its statement. The exit code is 1
    if the number of mails differs from the count. Then events of the month were deleted from Kafka
    (use --archive), or had a date in the future when they were stored (use --all). Earlier versions
    of the validate service only counted received mail and stored no ids; the command shows the
    number of such mails.
    """
    wanted = _listable(Wanted(month, kind, day, client, mailing, sub_client, detail))
    unnamed = Unnamed()
    parts = connect_to(line)
    # If the month has not begun, all its events were dated in the future when they were stored. So
    # they may be anywhere in the log.
    from_start = from_start or month > parts.months.of(SystemClock().now_ms())
    number = _expected(parts, wanted, live)
    if not number.mails:
        require_known(parts, client or "")
    with ExitStack() as closing:
        log = closing.enter_context(EventLog(parts.options, is_strict=True))
        source = log if folder is None else JoinedLog(Archive(folder), log)
        offsets = (number.log, number.offsets)
        mails = list_messages(
            source, wanted, parts.months, offsets, from_start=from_start, unnamed=unnamed
        )
        found = _print(mails, as_csv)
    if found != number.mails:
        say(difference(found, number.mails, unnamed.number))
        sys.exit(Exit.CHECK_FAILED)


def _listable(wanted: Wanted) -> Wanted:
    """Return `wanted`. Raises UsageError if the mails of this counter cannot be listed."""
    try:
        require_listable(wanted)
    except QueryFault as error:
        raise UsageError(str(error)) from None
    return wanted


def _expected(parts: Connections, wanted: Wanted, live: bool) -> _Number:
    with statement_of(parts, wanted.month, live=live) as closed:
        if closed:
            return _stated(closed, wanted)
        return as_copy_if_changed(lambda: _counted(parts.cells, wanted))


def _stated(closed: Closed, wanted: Wanted) -> _Number:
    header = closed.statement
    lines = closed.stated(wanted.month)
    mails = sum(line.count for line in lines if wanted.has(cell_of(line)))
    return _Number(mails, header.log, {int(part): mark for part, mark in header.offsets.items()})


def _counted(cells: Cells, wanted: Wanted) -> _Number:
    cells.read()  # this short query fails within seconds if the store does not answer
    with cells.reading(wanted.month) as (snapshot, counts):
        mails = sum(number for _, name, number in counts if wanted.has(decode_cell(name)))
    return _Number(mails, snapshot.log, snapshot.watermarks)


def difference(found: int, expected: int, unnamed: int) -> str:
    """Return the error message for a list of mails whose length differs from the count."""
    text = f"{counted(found, 'mail')} found, {expected} counted"
    if not unnamed:
        return text
    return f"{text}; {unnamed} were received by an earlier version, whose tallies have no ids"


def _print(mails: Iterator[ListedMail], as_csv: bool) -> int:
    """Print the mails and return their number."""
    seen = count()
    # zip() reads `mails` before `seen`, so `seen` is not advanced when `mails` ends.
    for piece in _written((mail for mail, _ in zip(mails, seen, strict=False)), as_csv):
        click.echo(piece, nl=False)
    return next(seen)


def _written(mails: Iterator[ListedMail], as_csv: bool) -> Iterator[bytes]:
    if as_csv:
        yield from csv_lines(Table(COLUMNS, len(COLUMNS) - 1, map(row_of, mails)))
        return
    for mail in mails:
        yield msgspec.json.encode(named_of(mail)) + b"\n"
