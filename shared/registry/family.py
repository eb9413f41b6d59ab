"""A client and the clients whose lists it inherits: its parent, the parent of that one, and so on.

Owns: the order, nearest first, and that it is bounded: at most MAX_PARENTS, none twice. `clients
apply` refuses longer chains and cycles; records that somebody else wrote are cut here. Pure.

A parent that is not registered still counts by its name: the entries of its recipients are on
mail.suppressions, and no mail goes to them because its registration is late or gone. Its block list
and its own parent are not known then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from shared.registry.client import Client

MAX_PARENTS: Final = 5


class Family(Struct, frozen=True):
    """The names of a client and its parents, nearest first, and the parents that are registered."""

    names: tuple[str, ...]
    parents: tuple[Client, ...] = ()


def family_of(client: Client, get: Callable[[str], Client | None]) -> Family:
    """Return the family of a client; `get` returns the registered client of a name."""
    names, parents = [client.name], []
    above: Client | None = client
    while above is not None and above.parent and len(names) <= MAX_PARENTS:
        if above.parent in names:
            break
        names.append(above.parent)
        above = get(above.parent)
        if above is not None:
            parents.append(above)
    return Family(tuple(names), tuple(parents))


def fault_of(client: Client, get: Callable[[str], Client | None]) -> str:
    """Return why a client cannot have its parent; "" if it can, or has none."""
    names, above = [client.name], client
    while above.parent:
        found = get(above.parent)
        if found is None:
            return f"there is no client {above.parent}"
        if found.name in names:
            return "a circle: " + " -> ".join([*names, found.name])
        if len(names) > MAX_PARENTS:
            return f"more than {MAX_PARENTS} parents above it"
        names.append(found.name)
        above = found
    return ""
