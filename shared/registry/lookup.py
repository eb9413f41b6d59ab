"""Finds clients in the view of the registry: the clients of a batch, and removed clients.

Owns these rules: an incomplete view is not used; an unknown client may have been registered a
moment ago; a registered client has priority over a removed client of the same name. Does not own:
the view (store/view.py), the handling of an unknown client's mail.

A refresh takes about 0.1 s, so a batch requests at most one refresh, even if it has many unknown
names. The next batch must not rely on this refresh, because a client may be registered just before
its first message is sent. Only a refresh that begins after the message was read is certain to find
the client.

Until a removed client is forgotten, the client still owns its accepted mail, the links in this
mail, and the messages that come back. So code that accepts new mail must check `client.removal`, or
use the registry directly.
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
        """Read all records written so far; return False if this takes `timeout_s`."""
        ...

    def ready(self) -> bool:
        """Return whether the view has been complete at least once since the start."""
        ...


class Registry(Clients, Protocol):
    """The whole registry view (store/view.py), with the removed clients."""

    def by_domain(self, domain: str) -> Client | None:
        """Return the registered client that has this sending domain."""
        ...

    def removed(self, name: str) -> Client | None:
        """Return the removed client of this name, unless it is forgotten."""
        ...

    def removed_by_domain(self, domain: str) -> Client | None:
        """Return the removed client that had this sending domain."""
        ...


def require_whole(clients: Clients) -> None:
    """Raise NotReady while the view of the registry is incomplete."""
    if not clients.ready():
        raise NotReady("the client registry is being read")


def find_clients(clients: Clients, names: Iterable[str]) -> dict[str, Client | None]:
    """Return the client of each name (None if it is unknown), after at most one refresh.

    A removed client is treated as unknown here, because it may have been restored a moment ago.
    Raises NotReady if a name is unknown and the registry cannot be read to its end now.
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
    """A view of all clients whose mail may still be in transit, including removed clients."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def get(self, name: str) -> Client | None:
        """Return the registered client of this name, or else the removed client."""
        return self._registry.get(name) or self._registry.removed(name)

    def by_domain(self, domain: str) -> Client | None:
        """Return the registered client of this sending domain, or else the removed client."""
        return self._registry.by_domain(domain) or self._registry.removed_by_domain(domain)

    def refresh(self, timeout_s: float) -> bool:
        """Read all records written so far; return False if this takes `timeout_s`."""
        return self._registry.refresh(timeout_s)

    def ready(self) -> bool:
        """Return whether the view has been complete at least once since the start."""
        return self._registry.ready()
