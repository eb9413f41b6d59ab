"""Refuses a client that there is not, in commands that found nothing of it.

Known are the registered clients, those removed and kept, and every name that was ever counted:
finance asks for the months of a client long after it was removed. If Kafka is unavailable the name
is not checked, and that is said; the counts were read by then.
"""

from __future__ import annotations

from cli.answer import say
from cli.clients.faults import unknown_client
from services.billing.cli.opening import Connections
from services.billing.core.cells import decode_cell
from services.billing.edge.statements.topic import StatementTopic
from shared.registry.store.view import load_known
from shared.runtime.errors import Unavailable, UsageError
from shared.store.read_pieces import as_copy_if_changed


def require_known(parts: Connections, client: str) -> None:
    """Raise UsageError for a client that is not known. Does nothing without a client."""
    if not client:
        return
    try:
        known = load_known(parts.kafka)
        is_known = client in known or _is_counted(parts, client) or _is_stated(parts, client)
    except Unavailable as error:
        say(f"whether there is a client {client!r} was not checked: {error}")
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
