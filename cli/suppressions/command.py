"""`sluice suppressions`: shows and changes the list of recipients who get no mail from a client.

Owns: the commands except `import` (importing.py). Does not own: the records
(shared/topics/suppressions.py), reading and writing them (topic.py), planning a change
(shared/suppressions/entries.py), the output (options.py). The commands read and write Kafka, so
they work without Redis. Redis is needed only to confirm that a change is in force. Reading takes
about a minute for 5 million entries.
"""

from __future__ import annotations

import sys
from typing import TextIO

import click

from cli.answer import Exit, print_json, say
from cli.clients.faults import answering
from cli.options import find_kafka
from cli.suppressions.importing import import_
from cli.suppressions.options import (
    author_of,
    authored,
    common,
    ending,
    entry_lines,
    explained_lines,
    of_client,
    report,
    require_address,
    require_client,
    require_recipient,
    unregistered,
)
from cli.suppressions.topic import open_stores, read_records, write_records
from shared.registry.store.view import load_all
from shared.runtime.commands import HelpGroup, run_command
from shared.settings.sections import KafkaSettings
from shared.suppressions.csv_file import as_csv
from shared.suppressions.entries import addition, explain, names_of, removal
from shared.topics.suppressions import (
    REASONS,
    Suppression,
    SuppressionReason,
    SuppressionRecord,
)

_ANY_CLIENT = click.option("--client", default="", help="Only this client.")
_reason = click.option(
    "--reason",
    type=click.Choice([str(each) for each in REASONS]),
    default=str(SuppressionReason.MANUAL),
    show_default=True,
    help="The reason that events show.",
)


@click.group(
    "suppressions",
    help="List and change the recipients that get no mail from a client.",
    cls=HelpGroup,
)
def main() -> None:
    """Group the commands."""


@main.command("list")
@_ANY_CLIENT
@click.option("--all", "with_removed", is_flag=True, help="Show removed entries, too.")
@click.option("--csv", "as_table", is_flag=True, help="Print CSV on stdout.")
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
@click.option(
    "-o",
    "--output",
    "out",
    type=click.File("w", lazy=True),
    default="-",
    help="Write to this file.  [default: stdout]",
)
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

    The command ends when the entries are in force in every validate process.
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
@click.option("--force", is_flag=True, help="Remove entries of complaints, too; needs --note.")
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

    If a bounce counter made the entry, the counter is reset, too. An entry that a complaint made
    is removed only with --force and --note.
    """
    if force and not note:
        raise click.UsageError("--force needs --note: say why the complaint no longer applies")
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


@main.command("explain")
@click.argument("address")
@_ANY_CLIENT
@common
@answering
def explain_(address: str, client: str, bootstrap: str, line: str, as_json: bool) -> None:
    """Show for each client whether ADDRESS gets the client's mail, and the reason if not."""
    kafka = find_kafka(bootstrap, line)
    recipient = require_address(address)
    names = set(names_of(recipient).values())
    entries = read_records(
        kafka, lambda each: isinstance(each, Suppression) and each.recipient in names
    )
    loaded = load_all(kafka)
    known = loaded.removed | loaded.clients
    if client and client not in known:
        raise unregistered(client, known)
    chosen = [
        each
        for each in explain(
            recipient,
            {client: known[client]} if client else loaded.clients,
            [each for each in entries if isinstance(each, Suppression)],
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
    """Drop the suppressions in Redis; validation waits until they are restored from Kafka."""
    del bootstrap
    open_stores(line).suppressions.drop()
    report(
        {"state": "the suppressions in Redis are dropped and restored from Kafka"},
        as_json,
    )


def _entries(kafka: KafkaSettings, client: str, *, with_removed: bool) -> list[Suppression]:
    """Return the entries of one client or of all clients. Raises click.UsageError for an unknown
    name.

    A name with entries is accepted even if it is not registered, because entries remain after their
    client is removed.
    """

    def is_chosen(record: SuppressionRecord) -> bool:
        return isinstance(record, Suppression) and client in ("", record.client)

    found = [each for each in read_records(kafka, is_chosen) if isinstance(each, Suppression)]
    if client and not found:
        require_client(kafka, client)
    return [each for each in found if each.active or with_removed]


main.add_command(import_)

if __name__ == "__main__":
    run_command(main, "suppressions")
