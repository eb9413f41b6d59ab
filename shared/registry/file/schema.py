"""Generates the JSON Schema of clients.yaml for editors, from the declarations of the fields. This
module does no I/O.

The schema uses draft 7, which every YAML editor supports. The fields are declared in
declarations.py. A schema cannot compare fields. So it does not find names and sending domains that
are used twice, forwarding addresses at the sending domain, and codes that differ only in upper and
lower case. `sluice clients diff` reports these faults.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import FieldInfo, fields

from shared.registry.client import Client, Code
from shared.registry.file.declarations import (
    CLIENT,
    CODE,
    CODE_TEXT,
    CODES_DESCRIPTION,
    MAX_CODES,
    Field,
)

Tree = dict[str, Any]
DRAFT: Final = "http://json-schema.org/draft-07/schema#"


def document() -> Tree:
    """Return the schema as a tree."""
    client = _table(CLIENT, Client)
    client["properties"]["codes"] = {
        "type": ["object", "null"],
        "description": CODES_DESCRIPTION,
        "maxProperties": MAX_CODES,
        "propertyNames": {"pattern": CODE_TEXT.schema["pattern"]},
        "additionalProperties": _table(CODE, Code),
    }
    return {
        "$schema": DRAFT,
        "title": "Sluice: clients.yaml",
        "description": "The clients that may submit mail. `sluice clients apply` reads this file.",
        "type": "object",
        "additionalProperties": False,
        "required": ["clients"],
        "properties": {
            "clients": {"type": "array", "description": "The clients.", "items": client}
        },
    }


def page() -> str:
    """Return the text of docs/contracts/clients.schema.json."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"


def _table(declared: tuple[Field, ...], shape: type[Client | Code]) -> Tree:
    known = {info.name: info for info in fields(shape)}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [field.key for field in declared if field.required],
        "properties": {field.key: _property(field, known[field.key]) for field in declared},
    }


def _property(field: Field, info: FieldInfo) -> Tree:
    schema: Tree = dict(field.kind.schema)
    if field.most:
        schema = {"type": ["array"], "items": schema, "maxItems": field.most}
    schema["description"] = field.description
    if field.required:
        return schema
    # A key without a value is treated like an omitted key.
    schema["type"] = [*schema["type"], "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    schema["default"] = msgspec.to_builtins(_default(info))
    return schema


def _default(info: FieldInfo) -> Any:
    return info.default_factory() if info.default is msgspec.NODEFAULT else info.default
