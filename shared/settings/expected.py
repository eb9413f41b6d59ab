"""Describes the expected values of a setting's type, for faults and the generated reference.

This module also runs the checks that types specify in `Meta(extra={"check": ...})`, at any depth. A
check takes a value and returns advice, or "" if the value is valid (addresses.py). msgspec applies
its own constraints before these checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import inspect as shapes

# A fault shows at most this many characters of a value.
_SHOWN_LETTERS = 120


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _bounds(kind: shapes.IntType | shapes.FloatType) -> str:
    parts = []
    if kind.ge is not None:
        parts.append(f" from {_number(kind.ge)}")
    elif kind.gt is not None:
        parts.append(f" above {_number(kind.gt)}")
    if kind.le is not None:
        parts.append(f" {'to' if parts else 'up to'} {_number(kind.le)}")
    elif kind.lt is not None:
        parts.append(f" {'and below' if parts else 'below'} {_number(kind.lt)}")
    return "".join(parts)


def _text(kind: shapes.StrType) -> str:
    words = "text" if kind.pattern is None else f"text matching {kind.pattern}"
    if kind.min_length == 1:
        words = f"non-empty {words}"
    elif kind.min_length is not None:
        words += f" of at least {kind.min_length} characters"
    if kind.max_length is not None:
        words += f" of at most {kind.max_length} characters"
    return words


def _plain(kind: shapes.Type) -> shapes.Type:
    return _plain(kind.type) if isinstance(kind, shapes.Metadata) else kind


def _words(kind: shapes.Type) -> str:
    if isinstance(kind, shapes.Metadata) and kind.extra and "expected" in kind.extra:
        return str(kind.extra["expected"])
    match _plain(kind):
        case shapes.BoolType():
            return "true or false"
        case shapes.IntType() as number:
            return "a whole number" + _bounds(number)
        case shapes.FloatType() as number:
            return "a number" + _bounds(number)
        case shapes.StrType() as text:
            return _text(text)
        case shapes.LiteralType(values):
            return "one of " + ", ".join(str(value) or "empty" for value in values)
        case shapes.EnumType(enum):
            return "one of " + ", ".join(str(member.value) or "empty" for member in enum)
        case shapes.DictType() as table:
            return f"a table of {_words(table.key_type)} to {_words(table.value_type)}"
        case shapes.ListType() | shapes.VarTupleType() | shapes.SetType() as many:
            return f"a list, each {_words(many.item_type)}"
        case shapes.FrozenSetType() as many:
            return f"a list, each {_words(many.item_type)}"
        case shapes.UnionType(types):
            ordered = sorted(types, key=lambda each: isinstance(each, shapes.NoneType))
            return " or ".join(_words(each) for each in ordered)
        case shapes.NoneType():
            return "nothing"
        case shapes.StructType() as struct:
            return "a table with the keys " + ", ".join(field.name for field in struct.fields)
        case other:
            return type(other).__name__.removesuffix("Type").lower()


def describe(kind: Any) -> str:
    """Describe a Python type in words, such as `a whole number from 1 to 65535`."""
    return _words(shapes.type_info(kind))


def takes_json(kind: Any) -> bool:
    """Return True if an environment variable for a value of this type must contain JSON."""
    plain = _plain(shapes.type_info(kind))
    members = plain.types if isinstance(plain, shapes.UnionType) else (plain,)
    return any(
        isinstance(
            _plain(member),
            shapes.DictType
            | shapes.ListType
            | shapes.TupleType
            | shapes.VarTupleType
            | shapes.SetType
            | shapes.FrozenSetType
            | shapes.StructType,
        )
        for member in members
    )


def shown(value: Any) -> str:
    """Format a value for a fault: short, on one line, with its type visible."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 1] + "…"


def find_fault(value: Any, kind: Any) -> str:
    """Return the first fault of a value, with its place in a list or table, or ""."""
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
