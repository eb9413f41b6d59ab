"""The commands of the benchmarks: `./sluice bench ...` runs `python -m bench ...`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from bench import (
    backlog,
    bad_sites,
    billing,
    deliver,
    deliver_result,
    e2e,
    e2e_result,
    front_door,
    front_door_result,
    postfix,
)
from bench.measured import measured
from cli.terminal import terminal_width
from shared.runtime.commands import HelpGroup, run_command


def _print(result: Any, as_json: bool, described: Callable[[], str]) -> None:
    document = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    print(document if as_json else described())


@click.group(help="Load tests and comparisons; never part of the test run.", cls=HelpGroup)
def main() -> None:
    pass


@main.command("e2e")
@click.option(
    "--messages",
    default=10_000,
    show_default=True,
    type=click.IntRange(100),
    metavar="COUNT",
    help=f"Messages to measure, after {e2e.WARM_UP:,} to warm up.",
)
@click.option(
    "--size",
    default=10_240,
    show_default=True,
    type=click.IntRange(600, 307_200),
    metavar="BYTES",
    help="Size of each message.",
)
@click.option(
    "--dkim", is_flag=True, help="Sign the mail of the pipeline (RSA-2048); Postfix never signs."
)
@click.option(
    "--peer/--no-peer",
    default=True,
    show_default=True,
    help="Also measure Postfix (needs root).",
)
@click.option("--install-peer", is_flag=True, help="Install Postfix with apt if it is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_e2e(
    messages: int, size: int, *, dkim: bool, peer: bool, install_peer: bool, as_json: bool
) -> None:
    """Measure the whole pipeline, and Postfix in the same run.

    Prints messages per second, the time from publishing to the sink at half of that rate, and the
    CPU time and memory of each process. Takes some minutes.
    """

    def measure() -> e2e_result.Result:
        if peer:
            postfix.require(install_peer)
        return e2e.measure(messages, size, with_peer=peer, dkim=dkim)

    result = measured(measure)
    _print(result, as_json, lambda: e2e_result.described(result, terminal_width()))


@main.command("front-door", short_help="Compare the SMTP front door with other servers.")
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
    help="Messages to send first for warming up, as a share; they are not counted.",
)
@click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    help="How often everything is measured.",
)
@click.option(
    "--idle",
    default=2_000,
    show_default=True,
    type=click.IntRange(0, 4_000),
    help="Number of idle connections whose memory is measured; 0: none.",
)
@click.option(
    "--doors",
    default=os.cpu_count() or 1,
    show_default=True,
    type=click.IntRange(1, 16),
    help="Number of ingest processes that share one port.",
)
@click.option(
    "--kafka", default="", help="host:port of an existing broker; by default one is started."
)
@click.option("--redis", default="", help="URL of an existing Redis; by default one is started.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_front_door(*, as_json: bool, **values: Any) -> None:
    """Compare the SMTP front door with aiosmtpd and Postfix's smtp-sink."""
    result = measured(lambda: front_door.measure(front_door.Options(**values)))
    _print(result, as_json, lambda: front_door_result.described(result, terminal_width()))
    sys.exit(0 if all(bar.holds for bar in result.bars) else 1)


@main.command("deliver", short_help="Compare the engine of the deliver service with other senders.")
@click.option("--messages", default=10_000, show_default=True, type=click.IntRange(100))
@click.option(
    "--size",
    "size_bytes",
    default=10_240,
    show_default=True,
    type=click.IntRange(600, 307_200),
)
@click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    help="How often everything is measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_deliver(*, as_json: bool, **values: Any) -> None:
    """Compare deliver's engine with smtp-source, aiosmtplib, and Postfix with OpenDKIM.

    Needs Postfix; OpenDKIM and root for the comparison of signing.
    """
    result = measured(lambda: deliver.measure(deliver.Options(**values)))
    _print(result, as_json, lambda: deliver_result.described(result, terminal_width()))
    sys.exit(0 if all(bar.holds for bar in result.bars) else 1)


@main.command("billing")
@click.option("--events", default=200_000, show_default=True, type=click.IntRange(1_000))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_billing(events: int, *, as_json: bool) -> None:
    """Measure billing from Kafka to the cells, and what each part costs."""
    result = measured(lambda: billing.measure(events))
    _print(result, as_json, lambda: billing.described(result))
    sys.exit(0 if result.holds else 1)


@main.command("billing-books")
@click.option("--cells", default=1_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--postgresql", default="", metavar="URL", help="Use this database, not Redis.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--only", multiple=True, metavar="STEP", help="Only this step; may be repeated.")
def run_billing_books(cells: int, postgresql: str, only: tuple[str, ...], *, as_json: bool) -> None:
    """Measure time and memory of closing, proving and keeping a month with many cells."""
    from bench import billing_books

    result = measured(lambda: billing_books.measure(cells, postgresql, only))
    _print(result, as_json, lambda: billing_books.described(result))
    sys.exit(0 if result.holds else 1)


@main.command("billing-api")
@click.option("--cells", default=1_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--postgresql", default="", metavar="URL", help="Use this database, not Redis.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_billing_api(cells: int, postgresql: str, *, as_json: bool) -> None:
    """Measure the HTTP API of billing over a month with many cells."""
    from bench import billing_api, billing_api_result

    result = measured(lambda: billing_api.measure(cells, postgresql))
    _print(result, as_json, lambda: billing_api_result.described(result))
    sys.exit(0 if result.holds else 1)


@main.command("unsubscribe", short_help="Measure one-click unsubscribing.")
@click.option("--requests", default=5_000, show_default=True, type=click.IntRange(100))
@click.option("--connections", default=24, show_default=True, type=click.IntRange(1, 150))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_unsubscribe(requests: int, connections: int, *, as_json: bool) -> None:
    """Measure how long one click takes until Kafka has it, over several connections.

    Exit code 1 means that the 99th percentile is 250 ms or more, or that a click failed.
    """
    from bench import unsubscribe

    result = measured(lambda: unsubscribe.measure(requests, connections))
    _print(result, as_json, lambda: unsubscribe.described(result))
    sys.exit(0 if result.holds else 1)


@main.command("rules", short_help="Compare the header scan with other parsers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_rules(*, as_json: bool) -> None:
    """Compare the header scan and the rules with `email` and Rust's mailparse."""
    from bench.micro import rules

    result = rules.measure()
    _print(result, as_json, lambda: rules.described(result, terminal_width()))
    sys.exit(0 if result.meets_bar else 1)


@main.command("recipients", short_help="Measure recipients at the bounce door.")
@click.option("--count", default=1_000_000, show_default=True, type=click.IntRange(100))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_recipients(count: int, *, as_json: bool) -> None:
    """Measure how long the bounce door takes for forged and other recipients."""
    from bench.micro import recipients

    result = recipients.measure(count)
    _print(result, as_json, lambda: recipients.described(result))


@main.command("responses", short_help="Measure the classification and counting of returned mail.")
@click.argument(
    "folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_responses(folder: Path | None, *, as_json: bool) -> None:
    """Measure how the validate service reads returned mail, and `email` on the same messages.

    FOLDER holds messages (*.eml); the default is the samples of the tests.
    """
    from bench.micro import responses

    messages = responses.load(folder)
    if not messages:
        raise click.UsageError(f"{folder}: the folder has no *.eml file")
    result = responses.measure(messages)
    _print(result, as_json, lambda: responses.described(result, terminal_width()))
    sys.exit(0 if result.meets_bar else 1)


@main.command("suppressions")
@click.option("--recipients", default=5_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_suppressions(recipients: int, *, as_json: bool) -> None:
    """Measure the view of suppressed recipients, and counting bounces."""
    from bench import suppressions

    result = measured(lambda: suppressions.measure(recipients))
    _print(result, as_json, lambda: suppressions.described(result))


@main.command("suppressions-rebuild", short_help="Measure FLUSHALL with suppressed recipients.")
@click.option("--recipients", default=5_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run_suppressions_rebuild(recipients: int, *, as_json: bool) -> None:
    """Measure how long validation waits for the view of suppressed recipients after FLUSHALL.

    Starts Kafka and Redis. Takes about four minutes with 5 million recipients.
    """
    from bench import suppressions_rebuild

    result = measured(lambda: suppressions_rebuild.measure(recipients))
    _print(result, as_json, lambda: suppressions_rebuild.described(result))


main.add_command(backlog.main, "backlog")
main.add_command(bad_sites.main, "bad-sites")


if __name__ == "__main__":
    run_command(main, "bench")
