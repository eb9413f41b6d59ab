"""Prints orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cli.table import Column, Kind, lay_out, terminal_width
from cli.terminal import visible
from shared.topics.control import Order, Verb

# In a narrow terminal each order is its first two cells, with the others named below them.
_COLUMNS: Final = (
    *(Column(name) for name in ("order", "scope")),
    *(Column(name, Kind.TEXT) for name in ("to", "since", "until", "author", "reason")),
)


def at(time_ms: int) -> str:
    """Return a time as it is shown: UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def until(order: Order) -> str:
    """Return when an order ends."""
    return at(order.expires_at_ms) if order.expires_at_ms else "resumed"


def order_line(order: Order) -> str:
    """Return the sentence that says what a command has ordered."""
    if order.verb is Verb.RESUME:
        return f"resume: {order.scope}; mail that waited is sent as its turn comes"
    to = f" to {order.target}" if order.target else ""
    return f"{order.verb}: {order.scope}{to}, until {until(order)}; in force within 2 s"


def in_force_line(order: Order) -> str:
    """Return what an order in force says: what, on which mail, until when, by whom and why."""
    to = f" to {order.target}" if order.target else ""
    return visible(f"{order.verb}: {order.scope}{to}, until {until(order)}{_by(order)}")


def recorded_line(order: Order) -> str:
    """Return what an order on a message that waits says: what, by whom, why and since when."""
    to = f" to {order.target}" if order.target else ""
    return visible(f"{order.verb}{to} since {at(order.at_ms)}{_by(order)}")


def _by(order: Order) -> str:
    by = f", by {order.author}" if order.author else ""
    return by + (f": {order.reason}" if order.reason else "")


def order_lines(orders: Sequence[Order]) -> list[str]:
    """Return the lines of a list of orders."""
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
