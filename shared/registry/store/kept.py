"""The view of the registry for those who also deal with mail of removed clients.

Their mail that was accepted, what comes back of it, and links in it are still theirs until they are
forgotten. Who accepts new mail looks at `client.removal`, or asks the registry itself. Owns: that a
registered client comes first.
"""

from __future__ import annotations

from typing import Protocol

from shared.registry.client import Client


class Registry(Protocol):
    """The registry view (view.py)."""

    def get(self, name: str) -> Client | None:
        """Return the registered client."""
        ...

    def by_domain(self, domain: str) -> Client | None:
        """Return the registered client that has this sending domain."""
        ...

    def removed(self, name: str) -> Client | None:
        """Return the removed client that is not forgotten."""
        ...

    def removed_by_domain(self, domain: str) -> Client | None:
        """Return the removed client that had this sending domain."""
        ...

    def refresh(self, timeout_s: float) -> bool:
        """Read everything written so far; return False if that took longer."""
        ...

    def ready(self) -> bool:
        """Whether the view has been complete since the start."""
        ...


class WithRemoved:
    """All clients whose mail may still be on its way; `removal` is set in those removed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def get(self, name: str) -> Client | None:
        """Return the client, registered or removed."""
        return self._registry.get(name) or self._registry.removed(name)

    def by_domain(self, domain: str) -> Client | None:
        """Return the client that has, or had, this sending domain."""
        return self._registry.by_domain(domain) or self._registry.removed_by_domain(domain)

    def refresh(self, timeout_s: float) -> bool:
        """Read everything written so far; return False if that took longer."""
        return self._registry.refresh(timeout_s)

    def ready(self) -> bool:
        """Whether the view has been complete since the start."""
        return self._registry.ready()
