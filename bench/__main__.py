"""The benchmarks as commands: `python -m bench ...`, run by `./sluice bench ...`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import msgspec

from bench import e2e, front_door, front_door_result, postfix
from bench.smtp_sink import PeerError
from local.parts.unavailable import PartNotStarted
from shared.runtime.program_name import program_name

_PART_AWAY = 3


@click.group(help="Load tests and comparisons; never part of the test run.")
def main() -> None:
    pass


@main.command("e2e")
@click.option("--messages", default=10_000, show_default=True, type=click.IntRange(100))
@click.option("--size", default=10_240, show_default=True, type=click.IntRange(600, 307_200))
@click.option(
    "--dkim", is_flag=True, help="Sign what the pipeline sends (RSA-2048); the peer never signs."
)
@click.option("--peer/--no-peer", default=True, help="Also measure Postfix (needs root).")
@click.option("--install-peer", is_flag=True, help="Install Postfix with apt if it is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run_e2e(
    messages: int, size: int, *, dkim: bool, peer: bool, install_peer: bool, as_json: bool
) -> None:
    """Measure the whole pipeline, and Postfix in the same run."""
    try:
        if peer:
            postfix.require(install_peer)
        result = e2e.measure(messages, size, with_peer=peer, dkim=dkim)
    except (PeerError, PartNotStarted) as error:
        print(f"sluice: {error}", file=sys.stderr)
        sys.exit(_PART_AWAY)
    document = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    print(document if as_json else e2e.described(result))


@main.command("front-door")
@click.option("--messages", default=30_000, show_default=True, type=click.IntRange(100))
@click.option(
    "--size",
    "size_bytes",
    default=10_240,
    show_default=True,
    type=click.IntRange(600, 307_200),
)
@click.option("--sessions", default=200, show_default=True, type=click.IntRange(1, 1_000))
@click.option(
    "--warm-up",
    "warm_up_share",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of the messages that is sent first and not counted.",
)
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--idle",
    default=2_000,
    show_default=True,
    type=click.IntRange(0, 4_000),
    help="Idle connections whose memory is measured; 0: none.",
)
@click.option(
    "--doors",
    default=os.cpu_count() or 1,
    show_default=True,
    type=click.IntRange(1, 16),
    help="Ingest processes on one port in the rows with several.",
)
@click.option(
    "--kafka", default="", help="host:port of an existing broker; by default one is started."
)
@click.option("--redis", default="", help="URL of an existing Redis; by default one is started.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run_front_door(*, as_json: bool, **values: Any) -> None:
    """Compare the SMTP front door with aiosmtpd and Postfix's smtp-sink."""
    try:
        result = front_door.measure(front_door.Options(**values))
    except (PeerError, PartNotStarted) as error:
        print(f"sluice: {error}", file=sys.stderr)
        sys.exit(_PART_AWAY)
    document = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    print(document if as_json else front_door_result.described(result))
    sys.exit(0 if all(bar.holds for bar in result.bars) else 1)


@main.command("rules")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run_rules(*, as_json: bool) -> None:
    """Compare the header scan and the rules with `email` and Rust's mailparse."""
    from bench.micro import rules

    result = rules.measure()
    document = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    print(document if as_json else rules.described(result))
    sys.exit(0 if result.meets_bar else 1)


if __name__ == "__main__":
    main(prog_name=program_name("bench"))
