"""What a command shows of a closed month: its statement, as the API does, not the live counts.

What is counted after a close stands in the statement of a later month; who adds up the live counts
of a closed month would invoice it twice. On failure (Kafka is unavailable) the commands show the
live counts and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from services.billing.cli.opening import Connections
from services.billing.core.answer import Usage
from services.billing.core.closing.chain import Closed
from services.billing.core.closing.lines import cell_of
from services.billing.core.rows import gather
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.statements.topic import StatementTopic

live_option = click.option(
    "--live",
    is_flag=True,
    help="Of a closed month: what is counted now, not what its statement says.",
)


@contextmanager
def statement_of(parts: Connections, month: str, *, live: bool) -> Iterator[Closed | None]:
    """The statement of a month; None if it is open, if live counts are wanted, or without Kafka."""
    topic = StatementTopic(parts.options)
    try:
        yield None if live else _read(topic, month)
    finally:
        topic.close()


def _read(topic: StatementTopic, month: str) -> Closed | None:
    try:
        topic.read()
    except KafkaUnavailable:
        return None
    return topic.chain.closed.get(month)


def stated_usage(closed: Closed, client: str) -> Usage:
    """The counts of a statement, without adjustments of earlier months."""
    found = closed.statement
    cells = ((cell_of(line), line.count) for line in closed.stated(found.month))
    return Usage(found.month, found.complete, found.reason, {}, gather(cells, client), closed=True)
