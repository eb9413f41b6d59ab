"""The client of a name, asked for freshly before it is said that there is none.

Owns: that a view which is not whole is not used, and that the record which registers a client
may be on its way. Does not own: the view (view.py), what becomes of an unknown client's mail.
"""

from __future__ import annotations

from typing import Final, Protocol

from shared.registry.client import Client
from shared.stream.relay import NotReady

FRESH_TIMEOUT_S: Final = 5.0


class Clients(Protocol):
    """The registry view, as far as a worker needs it."""

    def get(self, name: str) -> Client | None:
        """The client as the view knows it."""
        ...

    def get_fresh(self, name: str, timeout_s: float) -> Client | None:
        """The client after everything written so far has been read; raises TimeoutError."""
        ...

    def ready(self) -> bool:
        """Whether the view has been whole since the start."""
        ...


def require_whole(clients: Clients) -> None:
    """Raises NotReady while the view of the registry is not known to be whole."""
    if not clients.ready():
        raise NotReady("the client registry is being read")


def find_client(clients: Clients, name: str) -> Client | None:
    """The client of this name; raises NotReady where the registry cannot be read now."""
    found = clients.get(name)
    if found is not None:
        return found
    try:
        return clients.get_fresh(name, FRESH_TIMEOUT_S)
    except TimeoutError as error:
        raise NotReady(f"the client registry cannot be read: {error}") from error
