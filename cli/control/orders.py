"""`sluice orders`: lists the operators' orders in force. Also formats orders for other commands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click

from cli.answer import print_json
from cli.clients.faults import answering
from cli.control.topic import read_orders
from cli.options import find_kafka, kafka_options
from cli.terminal import Column, Kind, lay_out, terminal_width, visible
from shared.runtime.clock import now_ms
from shared.runtime.commands import run_command
from shared.topics.control import Order, Verb

# In a narrow terminal, the first two cells of an order are one line, and the other cells follow
# below with their headings.
_COLUMNS: Final = (
    *(Column(name) for name in ("order", "scope")),
    *(Column(name, Kind.TEXT) for name in ("to", "since", "until", "author", "reason")),
)


def at(time_ms: int) -> str:
    """Return a time as text in UTC, with a precision of one second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def until(order: Order) -> str:
    """Return the time when an order ends, as text."""
    return at(order.expires_at_ms) if order.expires_at_ms else "resumed"


def order_line(order: Order) -> str:
    """Return the sentence about a new order."""
    if order.verb is Verb.RESUME:
        return f"resume: {order.scope}; mail that waited is sent when its turn comes"
    to = f" to {order.target}" if order.target else ""
    return f"{order.verb}: {order.scope}{to}, until {until(order)}; in force within 2 s"


def in_force_line(order: Order) -> str:
    """Describe an order in force: its verb, scope, end, author and reason."""
    to = f" to {order.target}" if order.target else ""
    return visible(f"{order.verb}: {order.scope}{to}, until {until(order)}{_by(order)}")


def recorded_line(order: Order) -> str:
    """Describe the verb, author, reason and time of an order on a waiting message."""
    to = f" to {order.target}" if order.target else ""
    return visible(f"{order.verb}{to} since {at(order.at_ms)}{_by(order)}")


def _by(order: Order) -> str:
    by = f", by {order.author}" if order.author else ""
    return by + (f": {order.reason}" if order.reason else "")


def order_lines(orders: Sequence[Order]) -> list[str]:
    if not orders:
        return ["no orders in force"]
    rows = [
        [
            str(order.verb),
            str(order.scope),
            order.target,
            at(order.at_ms),
            until(order),
            order.author,
            order.reason,
        ]
        for order in orders
    ]
    return lay_out(_COLUMNS, rows, terminal_width())


@click.command()
@click.option("--all", "is_all", is_flag=True, help="Show orders that have ended, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
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
