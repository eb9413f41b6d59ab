"""The options that several commands about recipients share, and how they end."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

import click

from cli.clients.faults import unknown_client
from cli.suppressions.topic import Stores, wait_in_force
from cli.target import kafka_options
from shared.mail.address import comparable
from shared.registry.client import Client
from shared.registry.store.view import load_known, load_registry
from shared.runtime.clock import now_ms
from shared.settings.sections import KafkaSettings
from shared.suppressions.changes import Author
from shared.suppressions.csv_file import Recipient, parse_recipient

IN_FORCE: Final = "in force"
LATER: Final = (
    "recorded, and in force for all mail that validate judges from now on; no running validate has"
    " confirmed it yet"
)
F = TypeVar("F", bound=Callable[..., Any])


def common(command: F) -> F:
    """Add --kafka, --state and --json."""
    as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
    return as_json(kafka_options(command))


def of_client(command: F) -> F:
    """Add --client, required."""
    return click.option("--client", required=True, help="The client.")(command)


def authored(command: F) -> F:
    """Add --author and --note."""
    command = click.option(
        "--author", default="", help="Who does this.  [default: the name of the user]"
    )(command)
    return click.option("--note", default="", help="Why.")(command)


def author_of(name: str, note: str) -> Author:
    """Return the author, the reason and the time of the change."""
    return Author(name or _user(), note, now_ms())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def require_client(kafka: KafkaSettings, name: str) -> Client:
    """Return the registered client. Raises click.UsageError, Unavailable."""
    known = load_known(kafka)
    if name not in known:
        raise unregistered(name, known)
    return known[name]


def unregistered(name: str, known: Collection[str]) -> click.UsageError:
    """The error of a command that is given a client that there is not."""
    return click.UsageError(unknown_client(name, known))


def chosen_clients(kafka: KafkaSettings, name: str) -> list[Client]:
    """Return the client of this name, or all without one. Raises as require_client()."""
    if name:
        return [require_client(kafka, name)]
    return [each for _, each in sorted(load_registry(kafka).items())]


def require_recipient(text: str) -> Recipient:
    """Return the recipient of an argument. Raises click.UsageError."""
    found = parse_recipient(text)
    if found is None:
        raise click.UsageError(f"{text!r} is neither one mail address nor a SHA-256 or MD5")
    return found


def require_address(text: str) -> str:
    """Return the address of an argument in comparison form. Raises click.UsageError."""
    found = comparable(text)
    if not found:
        raise click.UsageError(f"{text!r} is not one mail address such as anna@example.com")
    return found


def ending(stores: Stores, end: int) -> str:
    """Wait until the records before `end` are in force, and return what to say about it."""
    return IN_FORCE if wait_in_force(stores, end) else LATER
