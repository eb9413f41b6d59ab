"""Defines and prints the answer of `sluice shaping explain`.

Owns: the sentences about values that could not be read. Guarantees: if the suspensions or the
orders are not known, the output does not say that nothing is suspended or that no order applies.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click
from msgspec import Struct

from cli.answer import say
from cli.control.orders import in_force_line
from cli.terminal import Column, lay_out, terminal_width, visible
from services.deliver.cli.reputation import ShareRow
from services.deliver.core.shaping.explain import Explained
from shared.topics.control import Order


class Answer(Struct, frozen=True):
    """The JSON output of `explain`.

    `fault` is the reason why the suspensions are not known, or "" if they are known. `is_routed` is
    True if a setting specifies the server.
    """

    found: Explained
    fault: str
    is_routed: bool
    shares: list[ShareRow] = []
    # `orders` apply to all mail of the answer, and `orders_in_part` apply to a part of this mail.
    # Both are sorted by rank, and the first order decides.
    orders: tuple[Order, ...] = ()
    orders_in_part: tuple[Order, ...] = ()
    # The reason why the shares, the orders and the step of the source are not known, or "" if they
    # are known.
    kafka_fault: str = ""


def show(answer: Answer) -> None:
    """Print the answer as text for people."""
    found = answer.found
    click.echo(f"domain    {found.domain}")
    routed = " (by deliver.routes)" if answer.is_routed else ""
    click.echo(f"site      {found.site or 'not found in the DNS'}{routed}")
    click.echo(f"provider  {found.provider or 'none that the rules know'}")
    columns = [Column("what"), Column("concerns"), Column("value"), Column("from")]
    rows = [[row.what, row.key, row.value, row.origin] for row in found.limits]
    click.echo("\n".join(["", *lay_out(columns, rows, terminal_width()), ""]))
    for share in answer.shares:
        said = f"{share.part} of {share.whole}, suspended above {share.threshold} ({share.origin})"
        click.echo(f"{share.kind}: {said}")
    _show_suspensions(answer)


def _show_suspensions(answer: Answer) -> None:
    if answer.fault:
        say(f"the suspensions could not be read: {answer.fault}")
    for each in answer.found.suspensions:
        until = datetime.fromtimestamp(each.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        now = f"suspended until {until}" if each.until else f"at {each.factor:.0%} of its rate"
        click.echo(visible(f"{each.key}: {now}: {each.reason}"))
    for order in answer.orders:
        click.echo(in_force_line(order))
    for order in answer.orders_in_part:
        click.echo(f"a part of this mail: {in_force_line(order)}")
    if answer.kafka_fault:
        say(f"shares, orders and warm-up could not be read: {answer.kafka_fault}")
    if not answer.found.site:
        say("suspensions of the site are not known, because the DNS did not name the site")
    is_known = answer.found.site and not answer.fault and not answer.kafka_fault
    shown = answer.found.suspensions or answer.orders or answer.orders_in_part
    if is_known and not shown:
        click.echo("nothing is suspended, and no order concerns this mail")
