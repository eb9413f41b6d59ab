"""Finds the clients of a batch, with a refresh of the registry before one counts as unknown.

Owns: not using an incomplete view, and allowing for a registration that is still in transit.
Does not own: the view (view.py), the handling of an unknown client's mail.

A refresh takes about 0.1 s, so a batch requests at most one, whatever its number of unknown names
or messages. The result is not kept for the next batch: a client may be registered just before its
first message, and only a refresh begun after that message was read is certain to see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from shared.registry.client import Client
from shared.stream.relay import NotReady

FRESH_TIMEOUT_S: Final = 5.0


class Clients(Protocol):
    """The registry view, as far as a worker needs it."""

    def get(self, name: str) -> Client | None:
        """Return the client from the view."""
        ...

    def refresh(self, timeout_s: float) -> bool:
        """Read everything written so far; return False if that took longer."""
        ...

    def ready(self) -> bool:
        """Whether the view has been complete since the start."""
        ...


def require_whole(clients: Clients) -> None:
    """Raise NotReady while the view of the registry is not known to be complete."""
    if not clients.ready():
        raise NotReady("the client registry is being read")


def find_clients(clients: Clients, names: Iterable[str]) -> dict[str, Client | None]:
    """Return the client of each name (None: unknown), after at most one refresh.

    A removed client counts as unknown here: it may have been restored a moment ago. Raises NotReady
    if a name is unknown and the registry cannot be read to its end now.
    """
    found = {name: clients.get(name) for name in names}
    unknown = [
        name for name, client in found.items() if client is None or client.removal is not None
    ]
    if unknown:
        if not clients.refresh(FRESH_TIMEOUT_S):
            raise NotReady(f"the client registry was not read to its end in {FRESH_TIMEOUT_S:g} s")
        found.update((name, clients.get(name)) for name in unknown)
    return found
