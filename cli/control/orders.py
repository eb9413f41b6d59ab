"""`sluice orders`: the orders of operators in force."""

from __future__ import annotations

import click

from cli.answer import print_json
from cli.clients.faults import answering
from cli.control.output import order_lines
from cli.control.topic import read_orders
from cli.target import find_kafka, kafka_options
from shared.runtime.clock import now_ms
from shared.runtime.commands import run_command


@click.command()
@click.option("--all", "is_all", is_flag=True, help="Also those that are over.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@kafka_options
@answering
def main(is_all: bool, as_json: bool, bootstrap: str, line: str) -> None:
    """List the orders in force: what is suspended, bounced, expired, rerouted or cancelled."""
    now = now_ms()
    found = [
        order
        for order in read_orders(find_kafka(bootstrap, line))
        if is_all or not order.is_over(now)
    ]
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(order_lines(found)))


if __name__ == "__main__":
    run_command(main, "orders")
