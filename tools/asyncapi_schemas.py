"""Makes the small JSON schemas of which the AsyncAPI document (asyncapi.py) consists."""

from __future__ import annotations

from typing import Any

from shared.topics.intake_fields import SPEC_VERSION_TEXT, Field

Tree = dict[str, Any]


def draft_07(schema: Any) -> Any:
    """Return the schema in draft 7 of JSON Schema, where the items of a tuple are called
    `items`."""
    if isinstance(schema, dict):
        return {
            "items" if key == "prefixItems" else key: draft_07(value)
            for key, value in schema.items()
        }
    return [draft_07(value) for value in schema] if isinstance(schema, list) else schema


def message_of(content_type: str, summary: str, payload: Tree, headers: Tree) -> Tree:
    """Return a message of a channel."""
    return {
        "contentType": content_type,
        "summary": summary,
        "headers": headers,
        "payload": payload,
    }


def object_of(properties: Tree, required: tuple[str, ...] = ()) -> Tree:
    """Return a schema of an object."""
    made: Tree = {"type": "object", "properties": properties}
    return {**made, "required": list(required)} if required else made


def attribute(field: Field) -> Tree:
    """Return a schema of an attribute of CloudEvents."""
    is_version = field.meaning == SPEC_VERSION_TEXT
    return {"type": "string", "const": field.meaning} if is_version else text_of(field)


def text_of(field: Field, const: str = "") -> Tree:
    """Return a schema of a field that contains text."""
    made: Tree = {"type": "string"}
    if const:
        return {**made, "const": const}
    return {**made, "maxLength": field.max_octets, "description": field.meaning}


def described(meaning: str) -> Tree:
    """Return a schema of any text, with this description."""
    return {"type": "string", "description": meaning}
