"""`sluice dkim`: makes, lists and checks the keys that sign mail.

Owns: the commands and their output. Does not own: the folder of keys (shared/mailauth/dkim_keys),
the new keys of a rotation (rotation.py), states and records (keys.py). Only `rotate` writes files.
It writes the key files first, and then replaces the table in one step. No private key is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec

import click
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from cli.answer import Exit, fail, print_json, say
from cli.clients.dns import DnsLookUps, ResolverError
from cli.config.command import ServiceConfigError, ask_service
from cli.dkim.keys import (
    Check,
    KeyState,
    Made,
    Published,
    TxtRecord,
    check_record,
    record_of,
    states_of,
    successor,
    zone_line,
)
from cli.dkim.rotation import (
    ALGORITHMS,
    DEFAULT_AFTER,
    RotationError,
    new_keys,
    wanted_of,
    warnings_of_client,
)
from cli.options import dns_options, kafka_options, require_domain
from cli.terminal import Column, Kind, lay_out, terminal_width
from shared.mail.domains import normalise
from shared.mailauth.dkim_keys.folder import KeyFault, KeyFolder, PrivateKey, add_keys, read_table
from shared.mailauth.dkim_keys.table import RSA_BITS, TABLE, Key, KeyEntry
from shared.runtime.clock import Deadline, now_ms
from shared.runtime.commands import HelpGroup, run_command
from shared.runtime.errors import UsageError

P = ParamSpec("P")
_COLUMNS: Final = (
    Column("client"),
    Column("domain"),
    Column("selector"),
    Column("key"),
    Column("state"),
    Column("active from"),
    Column("until"),
    Column("file", Kind.TEXT),
)
_folder = click.option(
    "--folder",
    default="",
    metavar="DIR",
    help="The folder of keys.  [default: the setting deliver.dkim_keys]",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def _answering(command: Callable[P, None]) -> Callable[P, None]:
    """Turn faults of the command into one line and the exit code for wrong usage."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (KeyFault, RotationError, ResolverError, ServiceConfigError, UsageError) as error:
            fail(str(error), Exit.USAGE_ERROR, bool(kwargs["as_json"]))
        except OSError as error:
            shown = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            fail(shown, Exit.USAGE_ERROR, bool(kwargs["as_json"]))

    return wrapped


@click.group(help="Make, list and check the DKIM keys that sign mail.", cls=HelpGroup)
def main() -> None:
    """Run one of the commands."""


@main.command()
@click.option("--client", default="", help="Sign mail of this client.  [default: of all clients]")
@click.option("--domain", default="", help="Sign mail of this domain.  [default: of all domains]")
@click.option(
    "--algorithm",
    default="both",
    show_default=True,
    type=click.Choice(list(ALGORITHMS)),
    help="Algorithm of the new keys.",
)
@click.option(
    "--bits",
    default=2_048,
    show_default=True,
    type=click.IntRange(RSA_BITS.start, RSA_BITS.stop - 1),
    help="Length of the RSA key.",
)
@click.option(
    "--after",
    default="",
    help=f"Begin to sign after this time, such as 0s, 30m or 2d.  [default: {DEFAULT_AFTER}]",
)
@click.option("--at", default="", help="Begin to sign at this time, such as 2026-12-01T00:00:00Z.")
@_folder
@_json
@kafka_options
@_answering
def rotate(folder: str, as_json: bool, bootstrap: str, line: str, **options: Any) -> None:
    """Make new keys that replace the present ones at a set time (--after or --at).

    You can make keys before their client is registered: the command then prints a warning. It
    looks for the client in the Kafka of --kafka or --state.

    Publish the printed DNS records before the new keys sign. Keep the old records for a week after
    that, because mail that was signed with the old keys is still on its way.
    """
    path = _path(folder)
    now = datetime.fromtimestamp(now_ms() / 1_000, UTC)
    wanted = wanted_of(now, **options)
    warnings = warnings_of_client(wanted.client, bootstrap, line)
    for warning in warnings:
        say(f"warning: {warning}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    taken = read_table(path) if (path / TABLE).exists() else ()
    keys = new_keys(wanted, taken, now)
    add_keys(path, keys)
    table = KeyFolder(path).load()
    made = [Made(entry, record_of(entry, key), successor(entry, table)) for entry, key in keys]
    if as_json:
        shown = [_made_document(path, each) for each in made]
        print_json({"active_from": wanted.active_from, "keys": shown, "warnings": warnings})
        return
    for each in made:
        start = _shown(each.entry.active_from)
        click.echo(f"made {path / each.entry.file}, which signs from {start} on{_until(each.next)}")
    click.echo("publish these records before that time:")
    for each in made:
        click.echo(zone_line(each.record))


def _made_document(path: Path, made: Made) -> dict[str, str]:
    entry, later = made.entry, made.next
    until = {"until": _shown(later.active_from), "replaced_by": later.file} if later else {}
    names = {"selector": entry.selector, "file": str(path / entry.file)}
    return {**names, **_document(made.record), **until}


def _until(later: KeyEntry | None) -> str:
    if later is None:
        return ""
    when = _shown(later.active_from)
    return f", until {when}, when {later.file} replaces it (unless you delete that from {TABLE})"


@main.command("list")
@_folder
@_json
@_answering
def list_keys(folder: str, as_json: bool) -> None:
    """List the keys, with the mail that each key signs and the time from which it signs."""
    rows = [_row(state) for state in _states(folder)]
    if as_json:
        names = ("client", "domain", "selector", "key", "state", "active_from", "until", "file")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    for line in lay_out(_COLUMNS, rows, terminal_width()):
        click.echo(line)


def _row(found: KeyState) -> list[str]:
    entry, key = found.key.entry, found.key.key
    kind = f"RSA {key.key_size}" if isinstance(key, RSAPrivateKey) else "Ed25519"
    times = (_shown(entry.active_from), _shown(entry.active_until))
    return [entry.client, entry.domain, entry.selector, kind, found.state, *times, entry.file]


@main.command()
@click.option(
    "--domain",
    "domains",
    multiple=True,
    help="Check keys without a domain for this sending domain; may be repeated.",
)
@dns_options
@click.option("--print", "only_print", is_flag=True, help="Print the records; do not ask the DNS.")
@_folder
@_json
@_answering
def dns(
    domains: tuple[str, ...],
    *,
    server: str,
    timeout_s: float,
    only_print: bool,
    folder: str,
    as_json: bool,
) -> None:
    """Check that the DNS has the record of each key that signs or will sign.

    \b
    Exit codes:
      0  the DNS has all records
      1  a record is missing or different
      2  wrong usage
      3  the DNS is unavailable
    """
    named = [require_domain(each) for each in domains]
    records = [
        record
        for found in _states(folder)
        if found.is_needed
        for record in _records(found.key, named)
    ]
    if only_print:
        _print_records(records, as_json)
        return
    look_ups = DnsLookUps(server, Deadline(timeout_s))
    checks = [check_record(record, look_ups) for record in records]
    if as_json:
        print_json(
            [
                {**_document(check.record), "state": check.published, "reason": check.reason}
                for check in checks
            ]
        )
    else:
        for check in checks:
            _tell(check)
    sys.exit(_exit_code(checks))


def _records(key: Key[PrivateKey], domains: Sequence[str]) -> list[TxtRecord]:
    if key.entry.domain or not domains:
        return [record_of(key.entry, key.key)]
    return [record_of(key.entry, key.key, normalise(domain) or domain) for domain in domains]


def _print_records(records: Sequence[TxtRecord], as_json: bool) -> None:
    if as_json:
        print_json([_document(record) for record in records])
        return
    for record in records:
        click.echo(zone_line(record))


def _tell(check: Check) -> None:
    reason = f": {check.reason}" if check.reason else ""
    click.echo(f"{check.published:9} {check.record.name}{reason}")
    if check.published in {Published.NO, Published.OTHER}:
        click.echo(f"          publish: {zone_line(check.record)}")


def _exit_code(checks: Sequence[Check]) -> Exit:
    found = {check.published for check in checks}
    if found & {Published.NO, Published.OTHER, Published.UNASKED}:
        return Exit.CHECK_FAILED
    return Exit.PART_UNAVAILABLE if Published.UNKNOWN in found else Exit.OK


def _document(record: TxtRecord) -> dict[str, str]:
    return {"name": record.name, "type": "TXT", "value": record.text}


def _states(folder: str) -> list[KeyState]:
    keys = KeyFolder(_path(folder)).load()
    return states_of(keys, now_ms() / 1_000)


def _path(folder: str) -> Path:
    if folder:
        return Path(folder)
    try:
        rows = {row.key: str(row.value) for row in ask_service("deliver")}
    except ServiceConfigError as error:
        raise RotationError("; ".join(error.lines)) from None
    if not rows["deliver.dkim_keys"]:
        raise RotationError("give --folder, or set deliver.dkim_keys")
    return Path(rows["deliver.dkim_keys"])


def _shown(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z" if time is not None else ""


if __name__ == "__main__":
    run_command(main, "dkim")
