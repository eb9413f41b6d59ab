"""`sluice clients credentials`: the passwords with which clients log in to the front door.

Owns: the commands. Does not own: how a password becomes keys (shared/registry/credentials.py).
A generated password is printed once and kept nowhere; running services follow within a second.
Exit codes: 1 when NAME is not registered or has nothing to drop, 2 for a password that cannot
be one, 3 when Kafka is away.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from msgspec.structs import replace

from shared.cli.answer import Exit, fail, print_json
from shared.cli.kafka_door import find_kafka, kafka_options
from shared.cli.registry_faults import answering
from shared.registry.changes import Changes
from shared.registry.client import Client
from shared.registry.credentials import (
    MIN_PASSWORD_LETTERS,
    Credential,
    make_credential,
    new_password,
    rotated,
)
from shared.registry.publish import apply as write_changes
from shared.registry.view import load_registry
from shared.runtime.clock import SystemClock
from shared.runtime.sections import KafkaSettings
from shared.smtp.sasl import MAX_PASSWORD_OCTETS, prepare

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_stdin = click.option(
    "--password-stdin", "reads", is_flag=True, help="Take the password from standard input."
)


@click.group(help="The passwords with which clients log in to the SMTP front door.")
def main() -> None:
    """Hold the verbs together."""


@main.command("set")
@click.argument("name")
@_stdin
@_json
@kafka_options
@answering
def set_credential(name: str, reads: bool, as_json: bool, bootstrap: str, line: str) -> None:
    """Give a client one password, in place of all it has."""
    typed = _read_password(as_json) if reads else ""
    kafka = find_kafka(bootstrap, line)
    client = _find(kafka, name, as_json)
    password = typed or new_password()
    credential = make_credential(password, SystemClock().now_ms())
    _write(kafka, client, (credential,))
    _tell(client, "" if typed else password, (credential,), as_json)


@main.command()
@click.argument("name")
@_stdin
@_json
@kafka_options
@answering
def rotate(name: str, reads: bool, as_json: bool, bootstrap: str, line: str) -> None:
    """Give a client one more password; the one before stays valid, an older one does not."""
    typed = _read_password(as_json) if reads else ""
    kafka = find_kafka(bootstrap, line)
    client = _find(kafka, name, as_json)
    password = typed or new_password()
    credentials = rotated(client.credentials, password, SystemClock().now_ms())
    _write(kafka, client, credentials)
    _tell(client, "" if typed else password, credentials, as_json)


@main.command("drop-old")
@click.argument("name")
@_json
@kafka_options
@answering
def drop_old(name: str, as_json: bool, bootstrap: str, line: str) -> None:
    """End a rotation: only the newest password stays valid."""
    kafka = find_kafka(bootstrap, line)
    client = _find(kafka, name, as_json)
    if not client.credentials[1:]:
        fail(f"client {name!r} has no old password", Exit.CHECK_FAILED, as_json)
    _write(kafka, client, client.credentials[:1])
    _tell(client, "", client.credentials[:1], as_json)


@main.command("list")
@click.argument("name")
@_json
@kafka_options
@answering
def list_credentials(name: str, as_json: bool, bootstrap: str, line: str) -> None:
    """Say how many passwords a client has and since when; keys are shown nowhere."""
    client = _find(find_kafka(bootstrap, line), name, as_json)
    if as_json:
        days = [_day(credential) for credential in client.credentials]
        print_json({**_answer(client, client.credentials), "set": days})
        return
    click.echo(f"{name:<20} credentials: {summary(client.credentials)}")


def summary(credentials: Sequence[Credential]) -> str:
    """How many there are and when the newest was set: `1, set 2026-11-24` (UTC)."""
    return f"{len(credentials)}, set {_day(credentials[0])}" if credentials else "0"


def _day(credential: Credential) -> str:
    return datetime.fromtimestamp(credential.created_at_ms / 1000, UTC).date().isoformat()


def _read_password(as_json: bool) -> str:
    """The first line of standard input."""
    # Bytes, so that the locale has no say. One more than is allowed is read, and the line end.
    raw = sys.stdin.buffer.readline(MAX_PASSWORD_OCTETS + 3)
    try:
        text = prepare(raw.removesuffix(b"\n").removesuffix(b"\r").decode(), MAX_PASSWORD_OCTETS)
    except UnicodeDecodeError:
        text = None
    if raw.strip() and text is None:
        fail(
            "the password on standard input: expected UTF-8 without control characters,"
            f" at most {MAX_PASSWORD_OCTETS} octets",
            Exit.WRONG_USE,
            as_json,
        )
    letters = len(text or "")
    if text is None or letters < MIN_PASSWORD_LETTERS:
        fail(
            f"the password on standard input: found {letters} letters,"
            f" expected {MIN_PASSWORD_LETTERS} or more",
            Exit.WRONG_USE,
            as_json,
        )
    return text


def _find(kafka: KafkaSettings, name: str, as_json: bool) -> Client:
    client = load_registry(kafka).get(name)
    if client is None:
        fail(f"no client {name!r} is registered", Exit.CHECK_FAILED, as_json)
    return client


def _write(kafka: KafkaSettings, client: Client, credentials: tuple[Credential, ...]) -> None:
    write_changes(kafka, Changes(changed=(replace(client, credentials=credentials),)))


def _answer(client: Client, credentials: Sequence[Credential]) -> dict[str, Any]:
    return {"client": client.name, "username": client.name, "valid": len(credentials)}


def _tell(client: Client, generated: str, credentials: Sequence[Credential], as_json: bool) -> None:
    if as_json:
        shown = {"password": generated} if generated else {}
        print_json({**_answer(client, credentials), **shown})
        return
    click.echo(f"client    {client.name}\nusername  {client.name}")
    if generated:
        click.echo(f"password  {generated}   (shown once; kept nowhere)")
    click.echo(f"valid     {len(credentials)}")
