"""Describes settings as rows for `config show` and docs/settings.md; secrets are masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs
from msgspec import inspect as shapes

from shared.settings.expected import describe
from shared.settings.loader import Loaded, variable_of
from shared.settings.secrets import masked


class Row(Struct, frozen=True):
    """One key: its value, the origin of the value, and the key's entry in the reference."""

    key: str
    value: Any
    origin: str
    default: Any
    expected: str
    description: str
    variable: str


def show(loaded: Loaded[Any]) -> list[Row]:
    """Return a row for every key of the loaded settings, in the order of the model."""
    rows = []
    for section in structs.fields(loaded.settings):
        values = getattr(loaded.settings, section.name)
        for field in structs.fields(section.type):
            path = f"{section.name}.{field.name}"
            rows.append(
                Row(
                    key=path,
                    value=_built(field, getattr(values, field.name)),
                    origin=loaded.origins[path],
                    default=_built(field, _default(section, field)),
                    expected=describe(field.type),
                    description=_description(field.type),
                    variable=variable_of(section.name, field.name),
                )
            )
    return rows


def in_lines(rows: Sequence[Row]) -> list[str]:
    """Return one line per row for people: `key = value (origin)`, with the values aligned."""
    widest = max((len(row.key) for row in rows), default=0)
    return [
        f"{row.key:<{widest}} = {msgspec.json.encode(row.value).decode()}  ({row.origin})"
        for row in rows
    ]


def _built(field: structs.FieldInfo, value: Any) -> Any:
    return masked(field.name, msgspec.to_builtins(value), field.type)


def _default(section: structs.FieldInfo, field: structs.FieldInfo) -> Any:
    if field.required:
        return None
    plain = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    # A model may replace the default values of a section.
    if isinstance(section.default, section.type):
        given = getattr(section.default, field.name)
        return given if given != getattr(section.type(), field.name) else plain
    return plain


def _description(kind: Any) -> str:
    info = shapes.type_info(kind)
    schema = info.extra_json_schema if isinstance(info, shapes.Metadata) else None
    return str((schema or {}).get("description", ""))
