"""Commands for the access keys of the HTTP APIs: `sluice billing keys create|list|revoke|log`."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click
from msgspec import Struct, structs

from cli.answer import print_json, say
from cli.clients.faults import listed, unknown_client
from cli.options import find_kafka, kafka_options
from cli.terminal import Column, Kind, lay_out, terminal_width
from services.billing.cli.opening import answering, as_json_option
from shared.access.checking import Action
from shared.access.keys import AccessKey, Right, Scope
from shared.access.topic import create_key, read_keys, read_log, revoke_key
from shared.registry.client import Client
from shared.registry.store.view import load_registry
from shared.runtime.clock import SystemClock
from shared.runtime.commands import HelpGroup
from shared.runtime.errors import UsageError

_TIME: Final = re.compile(r"([1-9][0-9]{0,3})([dhm])")
_UNIT_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000}
MAX_NAME_CHARS: Final = 100
DEFAULT_LINES: Final = 100


class ShownKey(Struct, frozen=True):
    """A key as the commands show it. `key` is the secret; only the command `create` sets it."""

    id: str
    state: str
    scope: str
    rights: tuple[str, ...]
    name: str
    created_at_ms: int
    created_by: str
    expires_at_ms: int
    revoked_at_ms: int
    revoked_by: str
    key: str = ""


class NewKey(Struct, frozen=True):
    """The options of `create`."""

    client: str
    sub_client: str | None
    rights: tuple[str, ...]
    expires: str
    name: str
    unregistered: bool


@click.group("keys", cls=HelpGroup)
def keys() -> None:
    """Create, list and revoke access keys of the HTTP APIs; show the audit log."""


@keys.command("create")
@click.option(
    "--client",
    default="",
    metavar="NAME",
    help="Restrict the key to this client.  [default: all clients]",
)
@click.option(
    "--sub-client",
    default=None,
    metavar="CODE",
    help="Restrict the key to this sub-client of the client.",
)
@click.option(
    "--right",
    "rights",
    multiple=True,
    metavar="RIGHT",
    type=click.Choice([right.value for right in Right]),
    default=[Right.BILLING_READ.value],
    show_default=True,
    help=f"A right of the key; may be repeated: {', '.join(Right)}.",
)
@click.option(
    "--expires",
    default="365d",
    show_default=True,
    metavar="TIME",
    help="How long the key is valid: 90d, 12h, 30m, or never.",
)
@click.option("--name", default="", metavar="TEXT", help="The purpose of the key.")
@click.option(
    "--unregistered", is_flag=True, help="Accept a client or sub-client that is not registered."
)
@as_json_option
@kafka_options
@answering
def create(as_json: bool, bootstrap: str, line: str, **options: Any) -> None:
    """Create a key and print it.

    The key is never shown again, because only its hash is stored.
    """
    kafka, now_ms = find_kafka(bootstrap, line), SystemClock().now_ms()
    wanted = _wanted(NewKey(**options), now_ms)
    if wanted.scope.client and not options["unregistered"]:
        require_registered(wanted.scope, load_registry(kafka))
    text, made = create_key(kafka, wanted)
    if as_json:
        print_json(structs.replace(_shown(made, now_ms), key=str(text)))
        return
    rights = ", ".join(made.rights)
    say(f"key {made.id} for {made.scope.described()}, {rights}; it is shown only now:")
    click.echo(str(text))


def require_registered(scope: Scope, known: Mapping[str, Client]) -> None:
    """Raise UsageError if the client or the sub-client is not registered. Without this check, a key
    could have a misspelled name, and its user would see empty tables and no error."""
    if scope.client not in known:
        unknown = unknown_client(scope.client, known)
        raise UsageError(f"{unknown}; --unregistered accepts it")
    names = {code.sub_client for code in known[scope.client].codes.values()} - {""}
    if scope.sub_client and scope.sub_client not in names:
        raise UsageError(
            f"--sub-client: no code of {scope.client} has the sub-client {scope.sub_client!r};"
            f" known: {listed(names)}; --unregistered accepts it"
        )


def _wanted(new: NewKey, now_ms: int) -> AccessKey:
    if new.sub_client is not None and not new.client:
        raise UsageError("--sub-client: a sub-client needs --client")
    if len(new.name) > MAX_NAME_CHARS:
        raise UsageError(
            f"--name: {len(new.name)} characters; at most {MAX_NAME_CHARS} are allowed"
        )
    return AccessKey(
        id="",
        secret_hash=b"",
        rights=tuple(dict.fromkeys(new.rights)),
        scope=Scope(new.client, new.sub_client),
        name=new.name,
        created_at_ms=now_ms,
        created_by=getpass.getuser(),
        expires_at_ms=expiry_ms(new.expires, now_ms),
    )


@keys.command("list")
@as_json_option
@kafka_options
@answering
def list_keys(as_json: bool, bootstrap: str, line: str) -> None:
    """List all keys, with those that were revoked in the last 400 days."""
    now_ms = SystemClock().now_ms()
    found = read_keys(find_kafka(bootstrap, line)).values()
    shown = [_shown(key, now_ms) for key in sorted(found, key=lambda key: key.created_at_ms)]
    if as_json:
        print_json(shown)
        return
    columns = [Column(name) for name in ("id", "state", "scope", "rights", "expires", "name", "by")]
    rows = [
        [
            each.id,
            each.state,
            each.scope,
            ", ".join(each.rights),
            _day(each.expires_at_ms) or "never",
            each.name,
            each.created_by,
        ]
        for each in shown
    ]
    lines = lay_out(columns, rows, terminal_width()) if rows else ["there are no access keys"]
    click.echo("\n".join(lines))


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@as_json_option
@kafka_options
@answering
def revoke(key_id: str, as_json: bool, bootstrap: str, line: str) -> None:
    """Revoke a key: it becomes invalid within seconds, for good."""
    now_ms = SystemClock().now_ms()
    # The user may also give the whole key instead of its id.
    name = key_id.split("_")[1] if key_id.startswith("sluice_") else key_id
    found = revoke_key(find_kafka(bootstrap, line), name, getpass.getuser(), now_ms)
    if as_json:
        print_json(_shown(found, now_ms))
    else:
        say(f"key {found.id} for {found.scope.described()} is revoked")


@keys.command("log")
@click.option(
    "--lines",
    type=click.IntRange(1, 100_000),
    default=DEFAULT_LINES,
    help="Show at most this many lines.",
)
@as_json_option
@kafka_options
@answering
def show_log(lines: int, as_json: bool, bootstrap: str, line: str) -> None:
    """Show the audit log: keys that were created and revoked, and uses that were denied."""
    found = read_log(find_kafka(bootstrap, line), lines)
    if as_json:
        print_json(found)
        return
    columns = [Column(name) for name in ("time", "action", "key", "by", "what", "from")]
    columns.append(Column("uses", Kind.COUNT))
    rows = [
        [
            _time(each.at_ms),
            each.action.value,
            each.key,
            each.by,
            each.reason
            if each.action is Action.DENIED
            else f"{each.scope}: {', '.join(each.rights)}",
            each.peer,
            str(each.count),
        ]
        for each in found
    ]
    text = lay_out(columns, rows, terminal_width()) if rows else ["the audit log is empty"]
    click.echo("\n".join(text))


def expiry_ms(text: str, now_ms: int) -> int:
    """Return the time at which a key with this lifetime (for example 90d) expires. Return 0 for
    `never`. Raises UsageError."""
    if text == "never":
        return 0
    found = _TIME.fullmatch(text)
    if found is None:
        raise UsageError(f"--expires: {text!r} is not a duration; write 90d, 12h, 30m or never")
    return now_ms + int(found[1]) * _UNIT_MS[found[2]]


def _shown(key: AccessKey, now_ms: int) -> ShownKey:
    return ShownKey(
        key.id,
        key.state(now_ms),
        key.scope.described(),
        key.rights,
        key.name,
        key.created_at_ms,
        key.created_by,
        key.expires_at_ms,
        key.revoked_at_ms,
        key.revoked_by,
    )


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}" if at_ms else ""


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"
