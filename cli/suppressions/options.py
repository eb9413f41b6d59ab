"""The options and answers that the commands about recipients share."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

import click

from cli.answer import print_json
from cli.clients.faults import unknown_client
from cli.options import kafka_options
from cli.suppressions.topic import Stores, wait_in_force
from cli.terminal import Column, Kind, lay_out, terminal_width, visible
from shared.mail.comparison import comparable
from shared.plurals import counted
from shared.registry.client import Client
from shared.registry.store.view import load_known, load_registry
from shared.runtime.clock import now_ms
from shared.settings.sections import KafkaSettings
from shared.suppressions.csv_file import Recipient, parse_recipient
from shared.suppressions.entries import Author, Explanation
from shared.topics.suppressions import Suppression

IN_FORCE: Final = "in force"
LATER: Final = (
    "recorded, and in force for all mail that is validated from now on; no running validate "
    "process has confirmed it yet"
)
F = TypeVar("F", bound=Callable[..., Any])
_COLUMNS: Final = ("client", "recipient", "reason", "state", "author", "note")


def common(command: F) -> F:
    """Add --kafka, --state and --json to a command."""
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )
    return as_json(kafka_options(command))


def of_client(command: F) -> F:
    """Add --client, required."""
    return click.option("--client", required=True, help="The client.")(command)


def authored(command: F) -> F:
    """Add --author and --note to a command."""
    command = click.option(
        "--author", default="", help="Who makes the change.  [default: your user name]"
    )(command)
    return click.option("--note", default="", help="The reason, which is recorded.")(command)


def author_of(name: str, note: str) -> Author:
    """Return the author, the reason and the time of the change."""
    return Author(name or _user(), note, now_ms())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def require_client(kafka: KafkaSettings, name: str) -> Client:
    """Return the registered client of this name. Raises click.UsageError, Unavailable."""
    known = load_known(kafka)
    if name not in known:
        raise unregistered(name, known)
    return known[name]


def unregistered(name: str, known: Collection[str]) -> click.UsageError:
    """Return the error for an unknown client."""
    return click.UsageError(unknown_client(name, known))


def chosen_clients(kafka: KafkaSettings, name: str) -> list[Client]:
    """Return the client of this name, or all clients if the name is "".

    Raises the same exceptions as require_client().
    """
    if name:
        return [require_client(kafka, name)]
    return [each for _, each in sorted(load_registry(kafka).items())]


def require_recipient(text: str) -> Recipient:
    """Return the recipient in an argument. Raises click.UsageError."""
    found = parse_recipient(text)
    if found is None:
        raise click.UsageError(f"{text!r} is neither one mail address nor a SHA-256 or MD5")
    return found


def require_address(text: str) -> str:
    """Return the address in an argument, in comparison form. Raises click.UsageError."""
    found = comparable(text)
    if not found:
        raise click.UsageError(f"{text!r} is not one mail address such as anna@example.com")
    return found


def ending(stores: Stores, end: int) -> str:
    """Wait until the records before `end` are in force; return the last part of the answer."""
    return IN_FORCE if wait_in_force(stores, end) else LATER


def entry_lines(entries: list[Suppression]) -> list[str]:
    if not entries:
        return ["no entries"]
    columns = [Column(name, Kind.TEXT if name == "note" else Kind.KEY) for name in _COLUMNS]
    rows = [
        [
            entry.client,
            entry.recipient,
            str(entry.reason),
            "active" if entry.active else "removed",
            entry.author,
            entry.note,
        ]
        for entry in entries
    ]
    return [*lay_out(columns, rows, terminal_width()), counted(len(entries), "entry", "entries")]


def explained_lines(found: Explanation) -> list[str]:
    head = f"{found.client}: {found.reason or 'gets mail'}"
    owner = f" of {found.inherited_from}" if found.inherited_from else ""
    if found.pattern:
        head += f" (block list{owner}: {found.pattern})"
    elif owner:
        head += f" (list{owner})"
    lines = [head]
    for entry in found.entries:
        state = "" if entry.active else ", removed"
        state += f", list of {entry.client}" if entry.client != found.client else ""
        note = f": {entry.note}" if entry.note else ""
        lines.append(f"    {entry.reason} by {entry.form}{state}, {entry.author}{note}")
    return [visible(line) for line in lines]


def report(document: Mapping[str, object], as_json: bool, sentence: str = "") -> None:
    """Print the document as JSON, or the sentence; if there is no sentence, print the fields."""
    if as_json:
        print_json(document)
    else:
        click.echo(sentence or ", ".join(f"{name}: {value}" for name, value in document.items()))
