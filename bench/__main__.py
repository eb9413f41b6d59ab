"""`python -m bench ...`: the benches as commands (`./sluice bench ...` runs this)."""

from __future__ import annotations

import sys

import click
import msgspec

from bench import e2e, postfix
from bench.smtp_sink import PeerError
from shared.cli.parts.away import PartAwayError

_PART_AWAY = 3


@click.group(help="Load and comparison; never part of the test run.")
def main() -> None:
    """The group of commands."""


@main.command("e2e")
@click.option("--messages", default=10_000, show_default=True, type=click.IntRange(100))
@click.option("--size", default=10_240, show_default=True, type=click.IntRange(600, 307_200))
@click.option(
    "--dkim", is_flag=True, help="Sign what the line sends (RSA-2048); the peer never signs."
)
@click.option("--peer/--no-peer", default=True, help="Measure Postfix beside it (needs root).")
@click.option("--install-peer", is_flag=True, help="Install Postfix with apt where it is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run_e2e(
    messages: int, size: int, *, dkim: bool, peer: bool, install_peer: bool, as_json: bool
) -> None:
    """Measure the whole line, and Postfix in the same run."""
    try:
        if peer:
            postfix.require(install_peer)
        result = e2e.measure(messages, size, with_peer=peer, dkim=dkim)
    except (PeerError, PartAwayError) as error:
        print(f"sluice: {error}", file=sys.stderr)
        sys.exit(_PART_AWAY)
    document = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    print(document if as_json else e2e.described(result))


if __name__ == "__main__":
    main()
