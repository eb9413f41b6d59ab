"""`sluice responses`: the command group, with `show`, `reset` and `rebuild` for bounce counters.

`show` reads the counters in Redis. `reset` writes to Kafka and needs no Redis. It also removes the
suppressions that the counters have added, so that the recipient gets mail again. Every other
command has its own file.
"""

from __future__ import annotations

import click
from msgspec import Struct

from cli.answer import print_json
from cli.clients.faults import answering
from cli.options import find_kafka
from cli.responses import review_list, reviews
from cli.responses.classify import classify
from cli.suppressions.options import (
    author_of,
    authored,
    chosen_clients,
    common,
    ending,
    of_client,
    report,
    require_address,
    require_client,
)
from cli.suppressions.topic import open_stores, read_records, write_records
from shared.registry.client import Client
from shared.responses.counting.counting import decode_counter
from shared.runtime.commands import HelpGroup, run_command
from shared.suppressions.entries import removal
from shared.suppressions.entries import reset as reset_of
from shared.topics.suppressions import BY_COUNTER, Suppression, field_of


class CounterRow(Struct, frozen=True):
    """The bounces of a recipient that are counted for one client, and the limits of that client."""

    client: str
    hard: int
    hard_limit: int
    soft: int
    soft_limit: int


@click.command()
@click.argument("address")
@click.option("--client", default="", help="Only this client.")
@common
@answering
def show(address: str, client: str, bootstrap: str, line: str, as_json: bool) -> None:
    """Show how often mail to ADDRESS has bounced, by client."""
    recipient = require_address(address)
    chosen = chosen_clients(find_kafka(bootstrap, line), client)
    _, values = open_stores(line).counters.read([field_of(each.name, recipient) for each in chosen])
    rows = [_row(each, value) for each, value in zip(chosen, values, strict=True)]
    if as_json:
        print_json({"address": recipient, "clients": rows})
        return
    for row in rows:
        click.echo(
            f"{row.client}: {row.hard} of {row.hard_limit} hard bounces,"
            f" {row.soft} of {row.soft_limit} soft bounces in a row"
        )


@click.command()
@click.argument("address")
@of_client
@authored
@common
@answering
def reset(  # noqa: PLR0913 - a command has many options
    address: str, *, client: str, author: str, note: str, bootstrap: str, line: str, as_json: bool
) -> None:
    """Reset the bounce counters of ADDRESS for a client; remove the suppressions that they made."""
    kafka = find_kafka(bootstrap, line)
    recipient = require_address(address)
    require_client(kafka, client)
    by = author_of(author, note)
    made = [
        each
        for each in read_records(
            kafka, lambda each: each.client == client and each.recipient == recipient
        )
        if isinstance(each, Suppression) and each.reason in BY_COUNTER
    ]
    plan = removal(made, by, is_forced=False)
    counter = reset_of(client, recipient, by)
    records = [counter, *(each for each in plan.records if each != counter)]
    state = ending(open_stores(line), write_records(kafka, records))
    removed = len(records) - 1
    sentence = f"the counters are reset, {removed} entries removed: {state}"
    report({"removed": removed, "state": state}, as_json, sentence)


@click.command()
@common
@answering
def rebuild(bootstrap: str, line: str, as_json: bool) -> None:
    """Drop the counters in Redis; the same bounces are counted again from Kafka."""
    del bootstrap
    open_stores(line).counters.drop()
    state = "the counters are dropped, and the bounces are counted again"
    report({"state": state}, as_json, state)


def _row(client: Client, value: bytes | None) -> CounterRow:
    counter = decode_counter(value)
    return CounterRow(
        client.name, len(counter.hard), client.hard_limit, len(counter.soft), client.soft_limit
    )


@click.group(
    help="Classify returned mail; show and reset bounce counters; review incidents.",
    cls=HelpGroup,
)
def main() -> None:
    """Run one of the commands."""


main.add_command(classify)


main.add_command(show)


main.add_command(reset)


main.add_command(rebuild)


main.add_command(reviews.incidents)


main.add_command(reviews.rewind)


main.add_command(reviews.accept)


main.add_command(review_list.reviews)


if __name__ == "__main__":
    run_command(main, "responses")
