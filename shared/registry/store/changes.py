"""Decides which changes a new clients.yaml requires. The changes are written by publish.py.

clients.yaml has no credentials, so `clients apply` does not change the registered credentials.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, structs

from shared.registry.client import Client, fault_of
from shared.registry.file.yaml_tree import RegistryError, RegistryFault
from shared.topics.control import Order


class Changes(Struct, frozen=True):
    """The difference between the wanted and the registered clients."""

    added: tuple[Client, ...] = ()
    changed: tuple[Client, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    # `kept` are the removed clients whose records are written. `forgotten` are the removed clients
    # whose records are deleted.
    kept: tuple[Client, ...] = ()
    forgotten: tuple[str, ...] = ()
    # The orders that are written to mail.control in the same transaction.
    orders: tuple[Order, ...] = ()

    @property
    def to_write(self) -> tuple[Client, ...]:
        """Return the clients whose records must be written."""
        return self.added + self.changed


def plan_changes(
    wanted: Iterable[Client], registered: Mapping[str, Client], prune: bool = False
) -> Changes:
    """Plan the changes. `prune` is True if registered clients not in `wanted` are removed.

    Raises RegistryError if two clients would have the same sending domain, because From addresses,
    signatures and returned mail would then not identify one client. Also raises RegistryError if
    the parent of a client is not registered or inherits from this client.
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
    after = staying | {client.name: client for client in clients}
    faults += parent_faults(after, registered, clients)
    if faults:
        raise RegistryError(faults)
    return Changes(
        added=tuple(c for c in clients if c.name not in registered),
        changed=tuple(c for c in clients if registered.get(c.name, c) != c),
        unchanged=tuple(c.name for c in clients if registered.get(c.name) == c),
        removed=tuple(sorted(set(registered) - names)) if prune else (),
    )


def parent_faults(
    after: Mapping[str, Client], registered: Mapping[str, Client], wanted: Sequence[Client]
) -> list[RegistryFault]:
    """Return a fault for each client that cannot inherit from its parent.

    If the registered entry of a client already has the same fault, the fault is left out. So a
    fault that exists already does not prevent changes of other clients.
    """
    paths = {client.name: f"clients[{index}].parent" for index, client in enumerate(wanted)}
    return [
        RegistryFault(
            paths.get(name, f"{name}.parent"),
            repr(client.parent),
            f"a registered client from which {name} can inherit; found {fault}",
            f"{name} cannot inherit from {client.parent!r}: {fault}",
        )
        for name, client in sorted(after.items())
        if (fault := fault_of(client, after.get))
        and (name in paths or fault != _fault_before(name, registered))
    ]


def _fault_before(name: str, registered: Mapping[str, Client]) -> str:
    client = registered.get(name)
    return fault_of(client, registered.get) if client is not None else ""


def _with_credentials(client: Client, registered: Client | None) -> Client:
    kept = registered.credentials if registered is not None else client.credentials
    return client if client.credentials == kept else structs.replace(client, credentials=kept)


def changed_fields(before: Client, after: Client) -> dict[str, tuple[object, object]]:
    """Return each field of clients.yaml whose value has changed, with the old and the new value."""
    old, new = structs.asdict(before), structs.asdict(after)
    del new["credentials"], new["removal"]  # these two fields are not in clients.yaml
    return {key: (old[key], new[key]) for key in new if old[key] != new[key]}
