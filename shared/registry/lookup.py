"""Finds clients in the view of the registry: those of a batch, and removed ones.

Owns: not using an incomplete view; allowing for a registration that is still in transit; and that a
registered client comes before a removed one. Does not own: the view (store/view.py), the handling
of an unknown client's mail.

A refresh takes about 0.1 s, so a batch requests at most one, whatever its number of unknown names
or messages. The result is not kept for the next batch: a client may be registered just before its
first message, and only a refresh begun after that message was read is certain to see it.

A removed client still owns its accepted mail, what comes back of it, and the links in it, until the
client is forgotten. Whoever accepts new mail checks `client.removal`, or asks the registry itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from shared.registry.client import Client
from shared.stream.relay import NotReady

FRESH_TIMEOUT_S: Final = 5.0


class Clients(Protocol):
    """The methods of the registry view that a worker needs."""

    def get(self, name: str) -> Client | None:
        """Return the registered client of this name."""
        ...

    def refresh(self, timeout_s: float) -> bool:
        """Read everything written so far; return False if that took longer."""
        ...

    def ready(self) -> bool:
        """Whether the view has been complete since the start."""
        ...


class Registry(Clients, Protocol):
    """The whole registry view (store/view.py), with the removed clients."""

    def by_domain(self, domain: str) -> Client | None:
        """Return the registered client that has this sending domain."""
        ...

    def removed(self, name: str) -> Client | None:
        """Return the removed client that is not forgotten."""
        ...

    def removed_by_domain(self, domain: str) -> Client | None:
        """Return the removed client that had this sending domain."""
        ...


def require_whole(clients: Clients) -> None:
    """Raise NotReady while the view of the registry is incomplete."""
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


class WithRemoved:
    """A view of all clients whose mail may still be under way; removed ones have `removal` set."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def get(self, name: str) -> Client | None:
        """Return the registered client of this name, or else the removed one."""
        return self._registry.get(name) or self._registry.removed(name)

    def by_domain(self, domain: str) -> Client | None:
        """Return the registered client of this sending domain, or else the removed one."""
        return self._registry.by_domain(domain) or self._registry.removed_by_domain(domain)

    def refresh(self, timeout_s: float) -> bool:
        """Read everything written so far; return False if that took longer."""
        return self._registry.refresh(timeout_s)

    def ready(self) -> bool:
        """Whether the view has been complete since the start."""
        return self._registry.ready()
