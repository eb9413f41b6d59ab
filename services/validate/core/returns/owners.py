"""Whose message a complaint is about, if it came to the address of another client. Pure.

Feedback loops are often registered once for an installation: for its IP addresses, or with one
address for all domains. Their reports come to the client that has that address, but prove by our
own signature which client's message they are about. Such a complaint is that client's: its event,
its entry, and the mail that forwards it. The client that has the address gets nothing, because the
recipients of another client are not its business.

Owns: the search. Does not own: what the proof is (identity.py, tokens.py).
Guarantees: a report that proves a message of its own addressee stays there; what proves nothing
does, too; at most MAX_QUOTED return paths are verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.validate.core.returns.identity import Verification, identify, proved_path
from shared.mail.unsubscribe import Unsubscription
from shared.registry.client import Client
from shared.topics.records import Returned


class Owners(Protocol):
    """The registry, as far as it is needed here."""

    def get(self, name: str) -> Client | None:
        """Return the client of this name."""
        ...

    def by_domain(self, domain: str) -> Client | None:
        """Return the client that has this sending domain."""
        ...


def other_owner(
    returned: Returned,
    content: bytes,
    tokens: Sequence[Unsubscription],
    by: Verification | None,
    clients: Owners,
) -> Client | None:
    """Return the other client whose message is proved; None if the report stays where it came.

    `tokens` are verified, of whatever client.
    """
    if returned.mail_id or by is None:
        return None
    if any(each.client == returned.client for each in tokens):
        return None
    if identify(returned, content, clients.get(returned.client), by) is not None:
        return None
    for token in tokens:
        if (client := clients.get(token.client)) is not None:
            return client
    proved = proved_path(returned, content, clients.by_domain, by)
    return None if proved is None else proved[0]
