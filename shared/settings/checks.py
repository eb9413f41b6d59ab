"""Runs the checks that types of settings name: `Meta(extra={"check": ...})`, at any depth.

A check takes a value and returns what to write instead, or "" if the value is right
(addresses.py). msgspec's own constraints have been applied before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import inspect as shapes

from shared.settings.expected import shown


def find_fault(value: Any, kind: Any) -> str:
    """Return the first fault of a value, with its place in a list or table; "" if it has none."""
    return next(_faults(value, shapes.type_info(kind), ""), "")


def _faults(value: Any, kind: shapes.Type, place: str) -> Iterator[str]:
    while isinstance(kind, shapes.Metadata):
        check = (kind.extra or {}).get("check")
        if check is not None and (fault := check(value)):
            yield f"{place}{fault}"
        kind = kind.type
    match kind:
        case shapes.DictType():
            for key, inner in value.items():
                yield from _faults(key, kind.key_type, f"key {shown(key)}: ")
                yield from _faults(inner, kind.value_type, f"{shown(key)}: ")
        case shapes.ListType() | shapes.VarTupleType():
            for number, inner in enumerate(value, start=1):
                yield from _faults(inner, kind.item_type, f"{place}element {number}: ")
        case _:
            return
