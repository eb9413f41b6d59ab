"""The clients whose lists a client inherits."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shared.registry.client import MAX_PARENTS, Client, family_of, fault_of
from shared.registry.file.yaml_tree import RegistryError
from shared.registry.removal import MailChoice, Removal
from shared.registry.store.changes import plan_changes
from shared.registry.store.removing import plan_removal


def registry(**parents: str) -> dict[str, Client]:
    """Return clients by name, each with its parent."""
    return {
        name: Client(name, f"{name}.example", "back@owner.example", "M", parent=parent)
        for name, parent in parents.items()
    }


def chain(length: int) -> dict[str, Client]:
    """Return `length` clients, each the child of the next."""
    above = {f"c{number}": f"c{number + 1}" for number in range(length - 1)}
    return registry(**above, **{f"c{length - 1}": ""})


LONGEST = tuple(f"c{number}" for number in range(MAX_PARENTS + 1))


@pytest.mark.parametrize(
    ("clients", "name", "names", "parents"),
    [
        (registry(a=""), "a", ("a",), 0),
        (registry(a="b", b=""), "a", ("a", "b"), 1),
        (registry(a="b", b="c", c=""), "a", ("a", "b", "c"), 2),
        (registry(a="gone"), "a", ("a", "gone"), 0),
        (registry(a="b", b="gone"), "a", ("a", "b", "gone"), 1),
        (registry(a="a"), "a", ("a",), 0),
        (registry(a="b", b="a"), "a", ("a", "b"), 1),
        (registry(a="b", b="c", c="b"), "a", ("a", "b", "c"), 2),
        (chain(40), "c0", LONGEST, MAX_PARENTS),
    ],
)
def test_a_family_is_nearest_first_bounded_and_names_nobody_twice(
    clients: dict[str, Client], name: str, names: tuple[str, ...], parents: int
) -> None:
    found = family_of(clients[name], clients.get)
    assert found.names == names
    assert len(found.parents) == parents
    assert all(each in found.names for each in (one.name for one in found.parents))


@pytest.mark.parametrize(
    ("clients", "name", "fault"),
    [
        (registry(a=""), "a", ""),
        (registry(a="b", b=""), "a", ""),
        (chain(MAX_PARENTS + 1), "c0", ""),
        (chain(MAX_PARENTS + 2), "c0", f"more than {MAX_PARENTS} parents above it"),
        (registry(a="gone"), "a", "there is no client gone"),
        (registry(a="b", b="gone"), "a", "there is no client gone"),
        (registry(a="a"), "a", "a circle: a -> a"),
        (registry(a="b", b="a"), "a", "a circle: a -> b -> a"),
        (registry(a="b", b="c", c="b"), "a", "a circle: a -> b -> c -> b"),
    ],
)
def test_a_parent_that_cannot_be_inherited_from_is_named(
    clients: dict[str, Client], name: str, fault: str
) -> None:
    assert fault_of(clients[name], clients.get) == fault


def faults(wanted: dict[str, Client], registered: dict[str, Client], prune: bool = False) -> str:
    with pytest.raises(RegistryError) as caught:
        plan_changes(wanted.values(), registered, prune)
    return "; ".join(map(str, caught.value.faults))


def test_an_apply_refuses_a_circle_also_with_registered_clients() -> None:
    assert faults(registry(b="a"), registry(a="b", b="")) == (
        "a.parent: a cannot inherit from 'b': a circle: a -> b -> a; "
        "clients[0].parent: b cannot inherit from 'a': a circle: b -> a -> b"
    )


def test_an_apply_refuses_a_parent_that_nobody_knows_or_that_it_removes() -> None:
    assert "clients[0].parent: a cannot inherit from 'b'" in faults(registry(a="b"), {})
    both = registry(a="b", b="")
    assert "there is no client b" in faults(registry(a="b"), both, prune=True)
    assert plan_changes(registry(a="b").values(), both).unchanged == ("a",)


def test_a_parent_may_come_with_its_child_and_later() -> None:
    both = registry(a="b", b="")
    assert [each.name for each in plan_changes(both.values(), {}).added] == ["a", "b"]
    later = plan_changes(registry(a="b").values(), registry(a="", b=""))
    assert [each.parent for each in later.changed] == ["b"]


def removed(name: str, registered: dict[str, Client]) -> tuple[str, ...]:
    removal = Removal(MailChoice.HOLD, 1, 2)
    return plan_removal([name], registered, {}, removal, {}).removed


def test_a_client_is_not_removed_while_another_inherits_from_it() -> None:
    registered = registry(a="b", b="")
    with pytest.raises(RegistryError, match="a cannot inherit from 'b': there is no client b"):
        removed("b", registered)
    assert removed("a", registered) == ("a",)


def test_a_fault_that_is_registered_already_holds_up_no_other_change() -> None:
    broken = registry(a="gone", c="")
    changed = replace(broken["c"], hard_limit=9)
    assert plan_changes([changed], broken).changed == (changed,)
    assert removed("c", broken) == ("c",)
