"""`sluice suppressions`: who gets no mail from a client.

Owns: the commands. Does not own: the records (shared/topics/suppressions.py), reading and writing
them (topic.py), what a change writes (changes.py), what is
printed (output.py). They read and write Kafka, so they work without
Redis; only the confirmation that a change is in force needs it. Reading takes about a minute for 5
million entries.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import click

from cli.answer import Exit, print_json, say
from cli.clients.faults import answering
from cli.progress_bar import progress_bar
from cli.suppressions.options import (
    author_of,
    authored,
    common,
    ending,
    of_client,
    require_address,
    require_client,
    require_recipient,
    unregistered,
)
from cli.suppressions.output import entry_lines, explained_lines, report
from cli.suppressions.topic import open_stores, read_records, write_records
from cli.target import find_kafka
from shared.registry.store.view import load_registry
from shared.runtime.help_group import HelpGroup
from shared.runtime.run_command import run_command
from shared.settings.sections import KafkaSettings
from shared.suppressions.changes import Author, addition, removal
from shared.suppressions.csv_file import NOT_UTF_8, FaultyLine, Recipient, as_csv, parse_rows
from shared.suppressions.explaining import explain, names_of
from shared.topics.suppressions import (
    REASONS,
    Suppression,
    SuppressionReason,
    SuppressionRecord,
)

_MAX_FAULTS = 20
_REMOVED = "removed"
_OF_OTHERS = "of others"
_ANY_CLIENT = click.option("--client", default="", help="Only this client.")
_reason = click.option(
    "--reason",
    type=click.Choice([str(each) for each in REASONS]),
    default=str(SuppressionReason.MANUAL),
    show_default=True,
    help="The reason word that events give.",
)


@click.group("suppressions", help="List and change who gets no mail from a client.", cls=HelpGroup)
def main() -> None:
    """Hold the verbs together."""


@main.command("list")
@_ANY_CLIENT
@click.option("--all", "with_removed", is_flag=True, help="Removed entries, too.")
@click.option("--csv", "as_table", is_flag=True, help="CSV on standard output.")
@common
@answering
def list_(
    *, client: str, with_removed: bool, as_table: bool, bootstrap: str, line: str, as_json: bool
) -> None:
    """List the entries."""
    entries = _entries(find_kafka(bootstrap, line), client, with_removed=with_removed)
    if as_json:
        print_json(entries)
    elif as_table:
        sys.stdout.write(as_csv(entries))
    else:
        click.echo("\n".join(entry_lines(entries)))


@main.command("export")
@_ANY_CLIENT
@click.option("-o", "--output", "out", type=click.File("w", lazy=True), default="-")
@common
@answering
def export(client: str, out: TextIO, bootstrap: str, line: str, as_json: bool) -> None:
    """Write the active entries as CSV, in the form that `import` reads."""
    entries = _entries(find_kafka(bootstrap, line), client, with_removed=False)
    if as_json:
        print_json(entries)
    else:
        out.write(as_csv(entries))


@main.command()
@click.argument("recipients", nargs=-1, required=True)
@of_client
@_reason
@authored
@common
@answering
def add(  # noqa: PLR0913
    recipients: tuple[str, ...],
    *,
    client: str,
    reason: str,
    author: str,
    note: str,
    bootstrap: str,
    line: str,
    as_json: bool,
) -> None:
    """Suppress RECIPIENTS (addresses, or their SHA-256 or MD5) for a client.

    Ends when the entries are in force in every validate process.
    """
    kafka = find_kafka(bootstrap, line)
    chosen = [require_recipient(text) for text in recipients]
    require_client(kafka, client)
    by = author_of(author, note)
    entries = [addition(client, each, SuppressionReason(reason), by) for each in chosen]
    end = write_records(kafka, entries)
    report({"added": len(entries), "state": ending(open_stores(line), end)}, as_json)


@main.command()
@click.argument("recipients", nargs=-1, required=True)
@of_client
@click.option("--force", is_flag=True, help="Remove complaints, too; needs --note.")
@authored
@common
@answering
def remove(  # noqa: PLR0913
    recipients: tuple[str, ...],
    *,
    client: str,
    force: bool,
    author: str,
    note: str,
    bootstrap: str,
    line: str,
    as_json: bool,
) -> None:
    """Let RECIPIENTS get mail from a client again.

    Entries by counters are removed with a reset of the counter. An entry by a complaint stays,
    unless an operator uses --force and says why.
    """
    if force and not note:
        raise click.UsageError("--force needs --note: say why the complaint no longer holds")
    kafka = find_kafka(bootstrap, line)
    named = {require_recipient(text).text for text in recipients}
    named |= {name for text in tuple(named) if "@" in text for name in names_of(text).values()}
    entries = _entries(kafka, client, with_removed=True)
    found = [entry for entry in entries if entry.recipient in named]
    plan = removal(found, author_of(author, note), is_forced=force)
    end = write_records(kafka, plan.records)
    removed = sum(isinstance(each, Suppression) for each in plan.records)
    state = ending(open_stores(line), end) if plan.records else "unchanged"
    for entry in plan.complaints:
        say(f"{entry.recipient}: complained; only --force with --note removes this entry")
    document = {"removed": removed, "complaints": len(plan.complaints), "state": state}
    report(document, as_json)
    sys.exit(Exit.CHECK_FAILED if plan.complaints or not removed else Exit.OK)


@main.command("import")
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True))
@of_client
@authored
@common
@answering
def import_(  # noqa: PLR0913
    path: Path, *, client: str, author: str, note: str, bootstrap: str, line: str, as_json: bool
) -> None:
    """Suppress the recipients of the CSV file PATH (- for standard input) for a client.

    One recipient per line: an address, or its SHA-256 or MD5. Lines that name none are reported,
    and the others imported; the exit code is then 1. An import can be repeated.

    Of a file that `export` wrote, the active entries of the client are restored as they were, with
    their reasons; removed ones and those of other clients are left out and counted.
    """
    kafka = find_kafka(bootstrap, line)
    require_client(kafka, client)
    by = author_of(author, note or f"imported from {path.name}")
    faults: list[FaultyLine] = []
    left: Counter[str] = Counter()
    imported = 0

    def count(number: int) -> None:
        nonlocal imported
        imported += number
        bar.update(task, completed=imported)

    with _opened(path) as lines, progress_bar() as bar:
        task = bar.add_task("importing", total=None)
        end = write_records(kafka, _imported(lines, client, by, faults, left), count)
    for fault in faults[:_MAX_FAULTS]:
        say(f"{path}:{fault.number}: {fault.reason}: {fault.text!r}")
    if len(faults) > _MAX_FAULTS:
        say(f"and {len(faults) - _MAX_FAULTS} more lines")
    state = ending(open_stores(line), end) if imported else "unchanged"
    report(
        {
            "imported": imported,
            "faulty": len(faults),
            "removed": left[_REMOVED],
            "of_others": left[_OF_OTHERS],
            "state": state,
        },
        as_json,
    )
    is_whole = not faults and (imported or not left[_OF_OTHERS])
    sys.exit(Exit.OK if is_whole else Exit.CHECK_FAILED)


@main.command("explain")
@click.argument("address")
@_ANY_CLIENT
@common
@answering
def explain_(address: str, client: str, bootstrap: str, line: str, as_json: bool) -> None:
    """Say for each client whether ADDRESS gets its mail, and why not."""
    kafka = find_kafka(bootstrap, line)
    recipient = require_address(address)
    names = set(names_of(recipient).values())
    entries = read_records(
        kafka, lambda each: isinstance(each, Suppression) and each.recipient in names
    )
    clients = load_registry(kafka)
    if client and client not in clients:
        raise unregistered(client, clients)
    chosen = [
        each
        for each in explain(
            recipient, clients, [each for each in entries if isinstance(each, Suppression)]
        )
        if client in ("", each.client)
    ]
    if as_json:
        print_json({"address": recipient, "clients": chosen})
    else:
        click.echo("\n".join(line for each in chosen for line in explained_lines(each)))


@main.command()
@common
@answering
def rebuild(bootstrap: str, line: str, as_json: bool) -> None:
    """Drop the view in Redis; validate waits until it is read again from mail.suppressions."""
    del bootstrap
    open_stores(line).suppressions.drop()
    report({"state": "the view is dropped and read again"}, as_json)


def _entries(kafka: KafkaSettings, client: str, *, with_removed: bool) -> list[Suppression]:
    """Return the entries of a client, or of all. Raises click.UsageError for an unknown name.

    Entries outlive their client: a name that has or had some is answered.
    """

    def is_chosen(record: SuppressionRecord) -> bool:
        return isinstance(record, Suppression) and client in ("", record.client)

    found = [each for each in read_records(kafka, is_chosen) if isinstance(each, Suppression)]
    if client and not found:
        require_client(kafka, client)
    return [each for each in found if each.active or with_removed]


def _imported(
    lines: TextIO, client: str, by: Author, faults: list[FaultyLine], left: Counter[str]
) -> Iterator[Suppression]:
    """Return the entries to write; count in `left` those of an export that are left out."""
    for row in parse_rows(lines):
        match row:
            case FaultyLine():
                faults.append(row)
            case Recipient():
                yield addition(client, row, SuppressionReason.IMPORTED, by)
            case Suppression(active=False):
                left[_REMOVED] += 1
            case Suppression() if row.client != client:
                left[_OF_OTHERS] += 1
            case Suppression():
                yield row


def _opened(path: Path) -> nullcontext[TextIO] | TextIO:
    if str(path) == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors=NOT_UTF_8)
        return nullcontext(sys.stdin)
    try:
        return path.open(encoding="utf-8", errors=NOT_UTF_8, newline="")
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None


if __name__ == "__main__":
    run_command(main, "suppressions")
