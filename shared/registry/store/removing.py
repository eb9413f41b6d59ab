"""Plans how clients are removed, restored and forgotten. The changes are written by publish.py.
This module does no I/O.

The record of a removed client is kept under another key until the client is forgotten. The orders
by which the deliver service carries out the choice are written in the same transaction, so a record
is never written without its orders. If the same removal is planned twice, the second plan finds the
result of the first plan and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from shared.registry.client import Client, is_forgotten
from shared.registry.file.yaml_tree import RegistryError, RegistryFault
from shared.registry.removal import (
    Removal,
    orders_at_removal,
    orders_at_return,
    replaced_by,
)
from shared.registry.store.changes import Changes, parent_faults, plan_changes
from shared.topics.control import Order

Clients = Mapping[str, Client]
# The last order about all mail of each client, by the client's name.
OrdersBefore = Mapping[str, Order]


def plan_removal(
    names: Iterable[str],
    registered: Clients,
    kept: Clients,
    removal: Removal,
    before: OrdersBefore,
) -> Changes:
    """Plan to remove clients, or to change the choice about the mail of removed clients.

    Raises RegistryError if another client inherits from one of these clients.
    """
    wanted = tuple(names)
    left = {name: each for name, each in registered.items() if name not in wanted}
    if faults := parent_faults(left, registered, ()):
        raise RegistryError(faults)
    return _removals(wanted, registered, kept, removal, before)


def _removals(
    wanted: Sequence[str],
    registered: Clients,
    kept: Clients,
    removal: Removal,
    before: OrdersBefore,
) -> Changes:
    known = {**kept, **registered}
    found = [known[name] for name in wanted if name in known]
    written = [_removed(each, removal, before.get(each.name)) for each in found]
    new = [each for each in written if kept.get(each.name) != each]
    chosen = [(each.name, each.removal) for each in new if each.removal is not None]
    return Changes(
        unchanged=tuple(each.name for each in written if kept.get(each.name) == each),
        removed=tuple(name for name in wanted if name in registered),
        kept=tuple(new),
        orders=tuple(
            order for name, by in chosen for order in orders_at_removal(name, by, before.get(name))
        ),
    )


def _removed(client: Client, removal: Removal, before: Order | None) -> Client:
    replaced = replaced_by(before, client.removal, removal.at_ms)
    if client.removal is not None and client.removal.at_ms == removal.at_ms:
        replaced = client.removal.replaced  # the same removal was already written
    return replace(client, removal=replace(removal, replaced=replaced))


def plan_restoring(
    name: str, registered: Clients, kept: Clients, by: Removal, before: Order | None
) -> Changes:
    """Plan to register a removed client again, as it was before its removal.

    `by` has the author and the time. Raises RegistryError if the sending domain now belongs to
    another client, or if the client's parent is not registered.
    """
    client = kept.get(name)
    if client is None:
        return Changes(unchanged=(name,))
    back = replace(client, removal=None)
    owner = next(
        (each.name for each in registered.values() if each.sending_domain == back.sending_domain),
        None,
    )
    faults = parent_faults({**registered, name: back}, registered, ())
    if owner is not None:
        text = f"{back.sending_domain!r} is already used by the registered client {owner}"
        faults.append(RegistryFault(f"{name}.sending_domain", owner, "another domain", text))
    if faults:
        raise RegistryError(faults)
    orders = orders_at_return(client.removal, before, by)
    return Changes(added=(back,), forgotten=(name,), orders=orders)


def plan_forgetting(name: str, kept: Clients) -> Changes:
    """Plan to forget a removed client at once."""
    return Changes(forgotten=(name,)) if name in kept else Changes(unchanged=(name,))


def plan_apply(
    wanted: Sequence[Client],
    registered: Clients,
    kept: Clients,
    removal: Removal,
    before: OrdersBefore,
    gone: Sequence[str],
) -> Changes:
    """Plan to apply a file: write the differences, and remove the clients in `gone`.

    `removal` has the choice about the mail of these clients, the author and the time. Raises
    RegistryError.
    """
    require_free_names(wanted, kept, removal.at_ms)
    staying = {name: each for name, each in registered.items() if name not in gone}
    found = plan_changes(wanted, staying)
    removed = _removals(gone, registered, kept, removal, before)
    ends = [
        order
        for client in found.added
        for order in orders_at_return(None, before.get(client.name), removal)
    ]
    return replace(
        found, removed=removed.removed, kept=removed.kept, orders=(*removed.orders, *ends)
    )


def require_free_names(wanted: Iterable[Client], kept: Clients, now_ms: int) -> None:
    """Raise RegistryError if the file contains a removed client whose record is still kept."""
    faults = [
        RegistryFault(
            f"clients[{index}].name",
            repr(client.name),
            "a client that was not removed",
            f"{client.name} was removed: `sluice clients restore {client.name}` registers it again"
            f" as it was, `sluice clients forget {client.name}` makes the name free;"
            " or take it out of the file",
        )
        for index, client in enumerate(wanted)
        if (found := kept.get(client.name)) is not None and not is_forgotten(found, now_ms)
    ]
    if faults:
        raise RegistryError(faults)
