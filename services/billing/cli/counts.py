"""The commands for the live counts: `sluice billing usage|recount|rebuild|adopt-log`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import click

from cli.answer import Exit, print_json, say
from cli.terminal import Column, Kind, lay_out, terminal_width, visible, visible_names
from services.billing.cli.opening import (
    Connections,
    answering,
    as_json_option,
    confirm,
    connect_to,
    line_option,
    progress,
    require_month,
)
from services.billing.cli.stated import live_option, require_known, stated_usage, statement_of
from services.billing.core.answer import Usage, as_csv
from services.billing.core.cells import BILLED, COUNTERS, RECEIVED
from services.billing.core.recount import Difference
from services.billing.edge.archive import Archive
from services.billing.edge.log_ends import EndsAsker, KafkaUnavailable
from services.billing.edge.recounting import JoinedLog, RecountReport, recount, unreadable_line
from services.billing.edge.statements.checkpointing import void
from services.billing.edge.statements.topic import StatementTopic
from services.billing.edge.usage_view import MAX_WAIT_S, UsageView
from shared.audit.event_log import EventLog
from shared.plurals import counted
from shared.runtime.clock import SystemClock
from shared.runtime.errors import PartUnavailable, UsageError
from shared.store.read_cells import Snapshot

_KEYS: Final = {"client": "client", "mailing_id": "mailing ID", "sub_client": "sub-client"}


@click.command("usage")
@click.option("--month", default="", help="The month (YYYY-MM).  [default: the present month]")
@click.option("--client", default="", help="Only this client.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, MAX_WAIT_S),
    default=0.0,
    help="Wait up to this many seconds until all committed events are counted; exit code 1 if "
    "some are not counted then.",
)
@click.option("--csv", "as_table", is_flag=True, help="Print CSV instead of a table.")
@live_option
@as_json_option
@line_option
@answering
def usage(  # noqa: PLR0913, PLR0917 - the options of a command
    month: str, client: str, wait_s: float, as_table: bool, live: bool, as_json: bool, line: str
) -> None:
    """Show the counts of a month by client, mailing ID and sub-client.

    For a closed month, the counts are those of its statement.
    """
    if month:
        require_month(month, "--month")
    parts = connect_to(line)
    month = month or parts.months.of(SystemClock().now_ms())
    with statement_of(parts, month, live=live) as closed:
        found = (
            stated_usage(closed, client) if closed else _live_usage(parts, month, client, wait_s)
        )
    # While events are counted again, some clients are not known yet.
    if not found.rows and found.complete:
        require_known(parts, client)
    if as_json:
        print_json(found)
    elif as_table:
        click.echo(as_csv(found.month, found.rows), nl=False)
    else:
        click.echo("\n".join(usage_lines(found, client, terminal_width())))
    if not found.complete:
        say(f"not complete: {found.reason}")
        sys.exit(Exit.CHECK_FAILED if wait_s else Exit.OK)


def _live_usage(parts: Connections, month: str, client: str, wait_s: float) -> Usage:
    ends = EndsAsker(parts.options)
    try:
        return UsageView(parts.cells, ends).read(month, client, wait_s)
    finally:
        ends.close()


def usage_lines(found: Usage, client: str, width: int) -> list[str]:
    """Return the lines of a table with the counts of a month and the sums of these counts. If
    nothing is counted, return one sentence."""
    if not found.rows:
        return [f"nothing is counted for {found.month}{f', client {client}' if client else ''}"]
    counters = [each for each in COUNTERS if _is_shown(each, found)]
    columns = [Column(heading) for heading in _KEYS.values()]
    columns += [Column(counter.replace("_", " "), Kind.COUNT) for counter in counters]
    rows = [[str(getattr(row, name)) for name in (*_KEYS, *counters)] for row in found.rows]
    of = ", closed: the counts of its statement" if found.closed else ""
    sums = {name: sum(getattr(row, name) for row in found.rows) for name in counters}
    total = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in sums.items())
    title = f"usage of {found.month}{of}"
    return [
        title,
        "",
        *lay_out(columns, rows, width),
        "",
        *textwrap.wrap(f"in all: {total}", width),
    ]


def _is_shown(counter: str, found: Usage) -> bool:
    return counter in (BILLED, RECEIVED) or any(getattr(row, counter) for row in found.rows)


@click.command("recount")
@click.option(
    "--archive",
    "folder",
    type=click.Path(path_type=Path),
    help="Read events from this archive first, then from Kafka.",
)
@as_json_option
@line_option
@answering
def recount_again(folder: Path | None, as_json: bool, line: str) -> None:
    """Count all of mail.events again and compare the counts; exit code 1 if any differ."""
    parts = connect_to(line)
    with ExitStack() as stack:
        log = stack.enter_context(EventLog(parts.options, is_strict=True))
        source = log if folder is None else JoinedLog(Archive(folder), log)
        begins = source.begins()
        total = sum(end - begins.get(part, 0) for part, end in source.committed_ends().items())
        advance = stack.enter_context(progress("recount", total))
        report = recount(source, parts.cells, parts.months, advance)
    if as_json:
        print_json(report)
    else:
        _tell(report)
    sys.exit(Exit.OK if report.agree else Exit.CHECK_FAILED)


def difference_line(found: Difference) -> str:
    """Return a line that describes one difference. Unprintable characters in names are replaced by
    visible ones."""
    return visible(
        f"{found.month}{'-' + found.day if found.day else ''}"
        f" {found.client}/{found.mailing_id}/{found.sub_client}"
        f" {found.counter}{' ' + found.detail if found.detail else ''}:"
        f" recounted {found.recounted}, live {found.live}"
    )


def _tell(report: RecountReport) -> None:
    for each in report.differences:
        click.echo(difference_line(each))
    if report.different > len(report.differences):
        click.echo(f"and {report.different - len(report.differences)} more cells differ")
    for fault in report.faults:
        click.echo(f"{fault.kind.value}: {fault.count}  {visible_names(fault.examples)}")
    if said := unreadable_line(report.unreadable, report.unreadable_at):
        say(said)
    if report.reason:
        say(f"not complete: {report.reason}")
    verdict = "agree" if report.agree else "do NOT agree"
    click.echo(f"{counted(report.records, 'record')} recounted: the live counts {verdict}")


@click.command("rebuild")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--lose-counts",
    is_flag=True,
    help="Drop counts even if Kafka has deleted their events or has another mail.events.",
)
@as_json_option
@line_option
@answering
def rebuild(yes: bool, lose_counts: bool, as_json: bool, line: str) -> None:
    """Drop the live counts; running workers then count again from the beginning.

    Checkpoints of these counts are not used any more. Closed statements stay as they are.
    """
    parts = connect_to(line)
    with closing(StatementTopic(parts.options)) as topic:
        with EventLog(parts.options) as log:
            gone = _lost(parts.cells.read(), _log_of_checkpoint(topic), log)
        if gone and not lose_counts:
            raise UsageError(f"{gone}; --lose-counts drops them anyway")
        if not yes and not confirm("Drop all counts, and count mail.events from its beginning?"):
            raise UsageError("nothing was dropped")
        void(topic, parts.cells.read().generation)
    parts.cells.drop()
    if as_json:
        print_json({"dropped": True})
    else:
        say("dropped; the workers count again from the beginning of mail.events")


def _log_of_checkpoint(topic: StatementTopic) -> str:
    """Return the id of the log whose events are counted in the last checkpoint. Return "" if there
    is no checkpoint."""
    topic.read()
    best = topic.checkpoints.best()
    return best.log if best is not None else ""


def _lost(found: Snapshot, of_checkpoint: str, log: EventLog) -> str:
    return (
        lost_logs({found.log, of_checkpoint} - {""}, log.id())
        or lost_beginnings(log.begins())
        or lost_holes(found.holes)
    )


def lost_logs(logs: Collection[str], present: str) -> str:
    """Return the reason why a rebuild would lose counts that are from another log. Return "" if all
    counts are from the present log."""
    others = ", ".join(sorted(set(logs) - {present}))
    if not others:
        return ""
    return (
        f"the counts are of another log ({others}) than the present mail.events ({present}); they"
        " would be lost for good, also in checkpoints (`billing adopt-log` keeps them)"
    )


def lost_beginnings(begins: Mapping[int, int]) -> str:
    """Return the reason why a rebuild would lose the counts of deleted events. Return "" if Kafka
    still has the first event of each partition."""
    lost = {part: begin for part, begin in sorted(begins.items()) if begin}
    if not lost:
        return ""
    where = ", ".join(f"{begin} of partition {part}" for part, begin in lost.items())
    return (
        f"Kafka has deleted the beginning of mail.events (up to the offsets {where}); the counts"
        " of these events would be lost for good, also in checkpoints"
    )


def lost_holes(holes: Mapping[int, str]) -> str:
    """Return the reason why a rebuild would lose the counts of events that are not in mail.events.
    Return "" if Kafka still has all counted events."""
    if not holes:
        return ""
    return (
        f"the counts up to {max(holes.values())} include events that mail.events does not have,"
        " such as events of an earlier log (adopt-log); they would be lost for good, also in"
        " checkpoints"
    )


@click.command("adopt-log")
@as_json_option
@line_option
@answering
def adopt_log(as_json: bool, line: str) -> None:
    """Keep the live counts and continue with the present mail.events, from its beginning.

    Run this command after mail.events was deleted and created again. Billing counts nothing until
    you run this command, or `rebuild`, which drops the counts. The months up to the
    present one stay marked as not complete, because events of the old log may not have been
    counted.
    """
    parts = connect_to(line)
    ends = EndsAsker(parts.options)
    try:
        found = ends.ask()
    except KafkaUnavailable as error:
        raise PartUnavailable("Kafka", parts.options.bootstrap, str(error)) from error
    finally:
        ends.close()
    month = parts.months.of(SystemClock().now_ms())
    before = parts.cells.adopt(found.log, month, sorted(found.ends))
    adopted = before not in ("", found.log)
    if as_json:
        print_json({"adopted": adopted, "before": before, "log": found.log})
    elif adopted:
        say(
            f"the counts of the log {before} are kept; the events of the log {found.log} are "
            "added to them"
        )
    else:
        reason = "the counts belong to this log" if before else "there are no counts"
        say(f"nothing to adopt: {reason}")
