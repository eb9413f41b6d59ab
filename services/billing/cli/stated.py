"""Reads the counts of a closed month from its statement, and checks whether a client is known.

For a closed month, a command shows the counts of the month's statement, as the API does. If an
event is counted after the close, a later statement has an adjustment for it. So if live counts and
statements were added, this event would be invoiced twice. If Kafka is unavailable, the commands
show the live counts.

Known clients are the registered clients, the removed clients whose records still exist, and all
clients that were ever counted. Counted clients are included, because the finance department asks
for the months of a client long after the client was removed. If Kafka is unavailable, the command
reports that it did not check the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.answer import say
from cli.clients.faults import unknown_client
from services.billing.cli.opening import Connections
from services.billing.core.answer import Usage, gather
from services.billing.core.cells import decode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.closing.lines import cell_of
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.statements.topic import StatementTopic
from shared.registry.store.view import load_known
from shared.runtime.errors import Unavailable, UsageError
from shared.store.read_pieces import as_copy_if_changed

live_option = click.option(
    "--live",
    is_flag=True,
    help="For a closed month, show the live counts instead of its statement.",
)


@contextmanager
def statement_of(parts: Connections, month: str, *, live: bool) -> Iterator[Closed | None]:
    """Yield the statement of a month. Yield None if the month is not closed, if `live` is True, or
    if Kafka is unavailable."""
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
    """Return the counts of a statement without its adjustments, which are about earlier months."""
    found = closed.statement
    cells = ((cell_of(line), line.count) for line in closed.stated(found.month))
    return Usage(found.month, found.complete, found.reason, {}, gather(cells, client), closed=True)


def require_known(parts: Connections, client: str) -> None:
    """Raise UsageError if the client is not known. Do nothing if `client` is ""."""
    if not client:
        return
    try:
        known = load_known(parts.kafka)
        is_known = client in known or _is_counted(parts, client) or _is_stated(parts, client)
    except Unavailable as error:
        say(f"the client {client!r} was not checked: {error}")
        return
    if not is_known:
        raise UsageError(unknown_client(client, known))


def _is_counted(parts: Connections, client: str) -> bool:
    months = parts.cells.read().versions

    def read() -> bool:
        with parts.cells.reading(*months) as (_, counts):
            return any(decode_cell(name).client == client for _, name, _ in counts)

    return bool(months) and as_copy_if_changed(read)


def _is_stated(parts: Connections, client: str) -> bool:
    topic = StatementTopic(parts.options)
    try:
        topic.read()
    finally:
        topic.close()
    return any(
        line.client == client
        for closed in topic.chain.closed.values()
        for line in closed.stated(closed.statement.month)
    )
