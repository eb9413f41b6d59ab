"""Reads the fields of a small form, urlencoded or multipart (RFC 7578). Pure.

Guarantees: total. What cannot be read has no fields; files are passed over. The caller bounds the
size of the body.
"""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Final
from urllib.parse import parse_qsl

MAX_FIELDS: Final = 20


def form_fields(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Return the names and values of the fields, in order."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            return parse_qsl(
                body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS
            )
        if kind == "multipart/form-data":
            return _multipart(content_type, body)
    except ValueError:
        return []
    return []


def _multipart(content_type: str, body: bytes) -> list[tuple[str, str]]:
    # A line end in a header's value would begin another header.
    named = "".join(char for char in content_type if char.isprintable()).encode("utf-8")
    whole = BytesParser(policy=compat32).parsebytes(b"Content-Type: " + named + b"\r\n\r\n" + body)
    parts = whole.get_payload() if whole.is_multipart() else []
    assert isinstance(parts, list)
    return [field for part in parts[:MAX_FIELDS] if (field := _field(part)) is not None]


def _field(part: object) -> tuple[str, str] | None:
    if not isinstance(part, Message) or part.get_content_disposition() != "form-data":
        return None
    name = part.get_param("name", header="content-disposition")
    value = part.get_payload(decode=True)
    if not isinstance(name, str) or part.get_filename() is not None or not isinstance(value, bytes):
        return None
    return name, value.decode("utf-8", "replace").rstrip("\r\n")
