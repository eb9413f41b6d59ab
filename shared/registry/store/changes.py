"""Decides what an apply of clients.yaml changes; publish.py carries it out.

clients.yaml has no credentials: an apply keeps the registered ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, structs

from shared.registry.client import Client
from shared.registry.file.clients_file import RegistryError, RegistryFault


class Changes(Struct, frozen=True):
    """The difference between the wanted and the registered clients."""

    added: tuple[Client, ...] = ()
    changed: tuple[Client, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def to_write(self) -> tuple[Client, ...]:
        """The clients whose records must be written."""
        return self.added + self.changed


def plan_changes(
    wanted: Iterable[Client], registered: Mapping[str, Client], prune: bool = False
) -> Changes:
    """Plan what to write and remove; with `prune`, unwanted registered clients are removed.

    Raises RegistryError if two clients would share a sending domain: From addresses,
    signatures and returned mail could not distinguish them.
    """
    clients = [_with_credentials(client, registered.get(client.name)) for client in wanted]
    names = {client.name for client in clients}
    staying = {} if prune else {n: c for n, c in registered.items() if n not in names}
    owners = {client.sending_domain: name for name, client in staying.items()}
    faults = [
        RegistryFault(
            f"clients[{index}].sending_domain",
            repr(client.sending_domain),
            f"another one: the registered client {owners[client.sending_domain]} has it",
            f"{client.sending_domain!r} is already used by the registered client"
            f" {owners[client.sending_domain]}",
        )
        for index, client in enumerate(clients)
        if client.sending_domain in owners
    ]
    if faults:
        raise RegistryError(faults)
    return Changes(
        added=tuple(c for c in clients if c.name not in registered),
        changed=tuple(c for c in clients if registered.get(c.name, c) != c),
        unchanged=tuple(c.name for c in clients if registered.get(c.name) == c),
        removed=tuple(sorted(set(registered) - names)) if prune else (),
    )


def _with_credentials(client: Client, registered: Client | None) -> Client:
    kept = registered.credentials if registered is not None else client.credentials
    return client if client.credentials == kept else structs.replace(client, credentials=kept)


def changed_fields(before: Client, after: Client) -> dict[str, tuple[object, object]]:
    """Return each field of clients.yaml that differs, with its old and new value."""
    old, new = structs.asdict(before), structs.asdict(after)
    del new["credentials"]  # an apply keeps them, and keys are never shown
    return {key: (old[key], new[key]) for key in new if old[key] != new[key]}
