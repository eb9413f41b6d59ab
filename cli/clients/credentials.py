"""`sluice clients credentials`: manages the passwords of clients for the front door.

Owns: the commands. Does not own: the derivation of keys from a password
(shared/registry/credentials.py). A generated password is printed once and not stored. Running
services apply a change within a second. Exit codes: 1 there is no old password to drop, 2 NAME is
not registered or the password is not valid, 3 Kafka is unavailable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from cli.answer import Exit, fail, print_json
from cli.clients.faults import answering, unknown_client
from cli.options import find_kafka, kafka_options
from shared.plurals import counted
from shared.registry.client import Client
from shared.registry.credentials import (
    MIN_PASSWORD_CHARS,
    Credential,
    make_credential,
    new_password,
    rotated,
)
from shared.registry.store.changes import Changes
from shared.registry.store.publish import change
from shared.registry.store.view import load_registry
from shared.runtime.clock import SystemClock
from shared.runtime.commands import HelpGroup
from shared.settings.sections import KafkaSettings
from shared.smtp.server.sasl import MAX_PASSWORD_OCTETS, prepare

Credentials = tuple[Credential, ...]

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
_stdin = click.option(
    "--password-stdin", "reads", is_flag=True, help="Read the password from standard input."
)


@click.group(
    help="Set, rotate and list the passwords with which clients log in to the front door.",
    cls=HelpGroup,
)
def main() -> None:
    """Group the commands."""


def _replaced(_: Credentials, password: str, now_ms: int) -> Credentials:
    return (make_credential(password, now_ms),)


def _verb(name: str, text: str, make: Callable[[Credentials, str, int], Credentials]) -> None:
    """Define a command that adds a password; `make` decides which older passwords stay valid."""

    @main.command(name, help=text)
    @click.argument("name")
    @_stdin
    @_json
    @kafka_options
    @answering
    def give(name: str, reads: bool, as_json: bool, bootstrap: str, line: str) -> None:
        typed = _read_password(as_json) if reads else ""
        password, now_ms = typed or new_password(), SystemClock().now_ms()
        edited = _edit(
            find_kafka(bootstrap, line), name, lambda old: make(old, password, now_ms), as_json
        )
        _tell(name, "" if typed else password, edited.credentials, as_json)


_verb("set", "Replace all passwords of a client with one password.", _replaced)
_verb(
    "rotate",
    "Add a password; the previous password stays valid, older passwords do not.",
    rotated,
)


@main.command("drop-old")
@click.argument("name")
@_json
@kafka_options
@answering
def drop_old(name: str, as_json: bool, bootstrap: str, line: str) -> None:
    """End a rotation: only the newest password stays valid."""
    edited = _edit(find_kafka(bootstrap, line), name, lambda old: old[:1], as_json)
    if not edited.tries:  # There was no old password, so nothing was written.
        fail(f"client {name!r} has no old password", Exit.CHECK_FAILED, as_json)
    _tell(name, "", edited.credentials, as_json)


@main.command("list")
@click.argument("name")
@_json
@kafka_options
@answering
def list_credentials(name: str, as_json: bool, bootstrap: str, line: str) -> None:
    """Show how many passwords a client has and when they were set, but not the passwords."""
    registered = load_registry(find_kafka(bootstrap, line))
    client = registered.get(name)
    if client is None:
        fail(unknown_client(name, registered), Exit.USAGE_ERROR, as_json)
    if as_json:
        days = [_day(credential) for credential in client.credentials]
        print_json({**_answer(name, client.credentials), "set": days})
        return
    click.echo(f"{name:<20} credentials: {summary(client.credentials)}")


def summary(credentials: Sequence[Credential]) -> str:
    """Return the number of credentials and the UTC date of the newest credential: `1, set
    2026-11-24`."""
    return f"{len(credentials)}, set {_day(credentials[0])}" if credentials else "0"


def _day(credential: Credential) -> str:
    return datetime.fromtimestamp(credential.created_at_ms / 1000, UTC).date().isoformat()


def _read_password(as_json: bool) -> str:
    """Return the password in the first line of standard input."""
    # The line is read as bytes, so that the locale does not matter. The limit is one octet more
    # than the longest password, plus the line end.
    raw = sys.stdin.buffer.readline(MAX_PASSWORD_OCTETS + 3)
    try:
        text = prepare(raw.removesuffix(b"\n").removesuffix(b"\r").decode(), MAX_PASSWORD_OCTETS)
    except UnicodeDecodeError:
        text = None
    if raw.strip() and text is None:
        fail(
            "the password on standard input must be UTF-8 without control characters,"
            f" at most {MAX_PASSWORD_OCTETS} bytes",
            Exit.USAGE_ERROR,
            as_json,
        )
    letters = len(text or "")
    if text is None or letters < MIN_PASSWORD_CHARS:
        fail(
            f"the password on standard input has {counted(letters, 'character')};"
            f" at least {MIN_PASSWORD_CHARS} are required",
            Exit.USAGE_ERROR,
            as_json,
        )
    return text


class _Edited(Struct, frozen=True):
    """The credentials that a client has now, and the number of attempts to write them."""

    credentials: Credentials
    tries: int


def _edit(
    kafka: KafkaSettings, name: str, edit: Callable[[Credentials], Credentials], as_json: bool
) -> _Edited:
    """Change a client's credentials with `edit`; retry if another command changed them first."""
    seen: Credentials | None = None
    made: Credentials = ()

    def plan(registered: Mapping[str, Client]) -> Changes:
        nonlocal seen, made
        client = registered.get(name)
        if client is None:
            fail(unknown_client(name, registered), Exit.USAGE_ERROR, as_json)
        if client.credentials != seen:
            is_written = bool((set(made) - set(seen or ())) & set(client.credentials))
            seen = client.credentials
            # An attempt without an answer may have succeeded. In that case, the password is not
            # added again.
            made = seen if is_written else edit(seen)
        if made == client.credentials:
            return Changes(unchanged=(name,))
        return Changes(changed=(replace(client, credentials=made),))

    written = change(kafka, plan)
    return _Edited(made, written.tries)


def _answer(name: str, credentials: Credentials) -> dict[str, Any]:
    return {"client": name, "username": name, "valid": len(credentials)}


def _tell(name: str, generated: str, credentials: Credentials, as_json: bool) -> None:
    if as_json:
        shown = {"password": generated} if generated else {}
        print_json({**_answer(name, credentials), **shown})
        return
    click.echo(f"client    {name}\nusername  {name}")
    if generated:
        click.echo(f"password  {generated}   (shown only now: it is not stored)")
    click.echo(f"valid     {len(credentials)}")
