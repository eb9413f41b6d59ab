"""`sluice clients`: shows the registry of clients, compares it with clients.yaml, and changes it.

Owns: the commands except `credentials`, `check` and the commands in removing.py. Does not own:
judging the file (shared/registry/file/clients_file.py), planning a change
(shared/registry/store/changes.py), writing it (shared/registry/store/publish.py). Exit codes: 1
`diff` finds a difference, 2 a faulty file or a NAME that is not registered, 3 Kafka is unavailable.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from cli.answer import Exit, fail, print_json, say
from cli.clients import credentials
from cli.clients.check import check
from cli.clients.faults import answering, unknown_client
from cli.clients.given import lane_warnings, pool_faults, read_clients
from cli.clients.removing import (
    forget,
    make_removal,
    orders_before,
    removal_options,
    remove,
    removed_as_json,
    removed_lines,
    restore,
)
from cli.options import find_kafka, kafka_options
from cli.terminal import Column, Kind, lay_out, terminal_width
from shared.plurals import counted
from shared.registry.client import Client
from shared.registry.file.schema import page as schema_page
from shared.registry.removal import MailChoice
from shared.registry.store.changes import (
    Changes,
    changed_fields,
    plan_changes,
)
from shared.registry.store.publish import change_all
from shared.registry.store.removing import plan_apply, require_free_names
from shared.registry.store.view import load_all, load_registry
from shared.runtime.clock import now_ms
from shared.runtime.commands import HelpGroup, run_command

_file = click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="The file clients.yaml; - for standard input.",
)
_prune = click.option(
    "--prune", is_flag=True, help="Remove registered clients that are not in the file."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@click.group(help="Register, show, check and remove clients.", cls=HelpGroup)
def main() -> None:
    """Group the commands."""


main.add_command(credentials.main, "credentials")
main.add_command(check)
for removing in (remove, restore, forget):
    main.add_command(removing)


@main.command()
@_file
@_prune
@removal_options
@_json
@kafka_options
@answering
def apply(  # noqa: PLR0913, PLR0917 - a command has many options
    path: Path,
    prune: bool,
    choice: str | None,
    keep: str,
    as_json: bool,
    bootstrap: str,
    line: str,
) -> None:
    """Register the clients of a file, and change clients that differ.

    Running services use the change at once. --mail and --keep concern the clients that --prune
    removes.
    """
    wanted = read_clients(path)
    errors, pool_warnings = pool_faults(wanted)
    if errors:
        fail("; ".join(errors), Exit.USAGE_ERROR, as_json)
    kafka = find_kafka(bootstrap, line)
    gone = sorted(set(load_registry(kafka)) - {each.name for each in wanted}) if prune else []
    removal = make_removal(gone, choice if gone else MailChoice.HOLD, keep, "", "")
    before = orders_before(kafka)
    written = change_all(
        kafka,
        lambda registered, kept: plan_apply(wanted, registered, kept, removal, before, gone),
    )
    changes = written.changes
    warnings = [*lane_warnings(wanted), *pool_warnings]
    for warning in warnings:
        say(f"warning: {warning}")
    if as_json:
        summary = {**_summary(changes), "topics_created": written.topics, "warnings": warnings}
        print_json(summary)
        return
    for line_text in _lines(changes):
        click.echo(line_text)
    for topic in written.topics:
        click.echo(f"created   topic {topic}")
    click.echo(f"{counted(len(wanted), 'client')} in the file, {len(changes.to_write)} written")


@main.command()
@_file
@_prune
@_json
@kafka_options
@answering
def diff(path: Path, prune: bool, as_json: bool, bootstrap: str, line: str) -> None:
    """Show what apply would change; exit code 1 if there is a difference."""
    wanted = read_clients(path)
    loaded = load_all(find_kafka(bootstrap, line))
    require_free_names(wanted, loaded.removed, now_ms())
    registered = loaded.clients
    changes = plan_changes(wanted, registered, prune)
    details = {
        client.name: {
            field: {"from": before, "to": after}
            for field, (before, after) in changed_fields(registered[client.name], client).items()
        }
        for client in changes.changed
    }
    if as_json:
        print_json({**_summary(changes), "fields": msgspec.to_builtins(details)})
    else:
        for line_text in _lines(changes, details):
            click.echo(line_text)
        if not (changes.to_write or changes.removed):
            click.echo(f"no difference: {same_as(wanted)}")
    if changes.to_write or changes.removed:
        sys.exit(Exit.CHECK_FAILED)


def same_as(wanted: Sequence[Client]) -> str:
    """Return the sentence that `diff` prints if there are no differences."""
    if not wanted:
        return "the file has no clients"
    verb = "is" if len(wanted) == 1 else "are"
    return f"{counted(len(wanted), 'client')} of the file {verb} registered as in the file"


@main.command("list")
@click.option(
    "--removed", "is_removed", is_flag=True, help="List removed clients that can be restored."
)
@_json
@kafka_options
@answering
def list_clients(is_removed: bool, as_json: bool, bootstrap: str, line: str) -> None:
    """List the registered clients."""
    loaded = load_all(find_kafka(bootstrap, line))
    if is_removed:
        _list_removed([loaded.removed[name] for name in sorted(loaded.removed)], as_json)
        return
    registered = loaded.clients
    clients = [registered[name] for name in sorted(registered)]
    if as_json:
        print_json([_shown_as_json(client) for client in clients])
        return
    if clients:
        click.echo("\n".join(list_lines(clients, terminal_width())))
    else:
        say("no client is registered")


def _list_removed(clients: Sequence[Client], as_json: bool) -> None:
    if as_json:
        print_json([removed_as_json(each, each.removal) for each in clients if each.removal])
    elif clients:
        click.echo("\n".join(removed_lines(clients, terminal_width())))
    else:
        say("there is no removed client that can be restored")


def list_lines(clients: Sequence[Client], width: int) -> list[str]:
    """Return the lines of the table of clients."""
    columns = (
        *map(Column, ("client", "sending domain", "mailing ID")),
        Column("codes", Kind.COUNT),
        Column("credentials", Kind.TEXT),
    )
    rows = [
        (
            client.name,
            client.sending_domain,
            client.mailing_id,
            str(len(client.codes)),
            credentials.summary(client.credentials),
        )
        for client in clients
    ]
    return lay_out(columns, rows, width)


@main.command()
@click.argument("name")
@_json
@kafka_options
@answering
def show(name: str, as_json: bool, bootstrap: str, line: str) -> None:
    """Show one client in the form of clients.yaml."""
    registered = load_registry(find_kafka(bootstrap, line))
    client = registered.get(name)
    if client is None:
        fail(unknown_client(name, registered), Exit.USAGE_ERROR, as_json)
    if as_json:
        print_json(_shown_as_json(client))
        return
    shown = _shown(client)
    text = yaml.safe_dump({"clients": [shown]}, sort_keys=False, allow_unicode=True)
    click.echo(text, nl=False)
    if client.credentials:  # This line is a comment, so that `apply` accepts it.
        click.echo(f"# credentials: {credentials.summary(client.credentials)}")


@main.command()
def schema() -> None:
    """Print the JSON Schema of clients.yaml, for editors."""
    click.echo(schema_page(), nl=False)


def _shown(client: Client) -> Any:
    """Return all fields of a client for clients.yaml, with default values but without its keys."""
    hidden = ("credentials", "removal")
    fields = [field for field in client.__struct_fields__ if field not in hidden]
    return msgspec.to_builtins({field: getattr(client, field) for field in fields})


def _shown_as_json(client: Client) -> Any:
    shown = _shown(client)
    if client.credentials:
        shown["credentials_set"] = credentials.summary(client.credentials)
    return shown


def _summary(changes: Changes) -> dict[str, list[str]]:
    return {
        "added": [client.name for client in changes.added],
        "changed": [client.name for client in changes.changed],
        "unchanged": list(changes.unchanged),
        "removed": list(changes.removed),
    }


def _lines(
    changes: Changes, details: Mapping[str, Mapping[str, Mapping[str, object]]] | None = None
) -> list[str]:
    lines = []
    for word, clients in _summary(changes).items():
        for name in clients:
            lines.append(f"{word:<9} {name}")
            for field, values in (details or {}).get(name, {}).items():
                before, after = (
                    msgspec.json.encode(values[end]).decode() for end in ("from", "to")
                )
                lines.append(f"            {field}: {before} -> {after}")
    return lines


if __name__ == "__main__":
    run_command(main, "clients")
