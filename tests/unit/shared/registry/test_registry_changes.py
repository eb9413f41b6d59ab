"""Clients as records, and the changes by an apply."""

from __future__ import annotations

import msgspec
import pytest

from shared.registry.client import Client, Code, decode_client, encode_client
from shared.registry.file.yaml_tree import RegistryError
from shared.registry.store.changes import Changes, changed_fields, plan_changes
from tests.support.clients_files import ACME, BETA


def test_a_client_survives_its_record() -> None:
    client = msgspec.structs.replace(
        ACME, codes={"c": Code("M-3", "s", active=False)}, ips=("192.0.2.0/24",)
    )
    assert decode_client("acme", encode_client(client)) == client


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", encode_client(BETA)])
def test_a_record_that_is_no_such_client_is_refused(value: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_client("acme", value)


def test_a_record_of_a_later_version_is_read() -> None:
    value = encode_client(ACME)[:-1] + b',"a_later_field":[1]}'
    assert decode_client("acme", value) == ACME


CHANGED = msgspec.structs.replace(ACME, hard_limit=7)


@pytest.mark.parametrize(
    ("wanted", "registered", "prune", "changes"),
    [
        ([ACME], [], False, Changes(added=(ACME,))),
        ([ACME], [ACME], False, Changes(unchanged=("acme",))),
        ([CHANGED], [ACME], False, Changes(changed=(CHANGED,))),
        ([ACME], [ACME, BETA], False, Changes(unchanged=("acme",))),
        ([ACME], [ACME, BETA], True, Changes(unchanged=("acme",), removed=("beta",))),
        ([], [ACME], True, Changes(removed=("acme",))),
    ],
)
def test_an_apply_writes_only_what_differs(
    wanted: list[Client], registered: list[Client], prune: bool, changes: Changes
) -> None:
    assert plan_changes(wanted, {c.name: c for c in registered}, prune) == changes


def test_a_sending_domain_of_another_registered_client_is_refused() -> None:
    thief = msgspec.structs.replace(ACME, name="thief")
    with pytest.raises(RegistryError, match="already used by the registered client acme"):
        plan_changes([thief], {"acme": ACME})
    assert plan_changes([thief], {"acme": ACME}, prune=True).removed == ("acme",)
    # Both clients exchange them in one apply.
    moved = msgspec.structs.replace(ACME, sending_domain="new.acme.example")
    assert plan_changes([thief, moved], {"acme": ACME}).to_write == (thief, moved)


def test_a_difference_names_the_fields() -> None:
    assert changed_fields(ACME, CHANGED) == {"hard_limit": (3, 7)}
