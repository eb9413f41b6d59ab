"""Parses the contents of requests to the HTTP API for platforms; defines the request faults. Pure.

The cursor of a list of entries refers to the entry after which the next page begins. The cursor is
opaque to platforms. The cursor need not be signed, because a page never shows more than the API key
permits.

The fields of a small form are urlencoded or multipart (RFC 7578). The parser accepts any bytes. It
returns no fields for an unreadable form, and it skips files. The caller bounds the size of the
body.

Each fault contains a sentence that explains the fault to the platform.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Final
from urllib.parse import parse_qsl

import msgspec

MAX_CHARS: Final = 1_000
Place = tuple[str, str, str]
START: Final[Place] = ("", "", "")
_decoder: Final = msgspec.json.Decoder(Place)
MAX_FIELDS: Final = 20


class QueryFault(ValueError):
    """A parameter is invalid (400). The text contains the parameter, its value and the expected
    value."""


class NotFound(LookupError):
    """The client, entry or message does not exist or is outside of the key's scope (404)."""


class Conflict(Exception):
    """The present state does not allow the change (409)."""


class Busy(Exception):
    """Too many tasks of this kind are running, or a part of the service is too slow (503)."""


def encode_cursor(place: Place) -> str:
    """Return the text of a cursor."""
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode_cursor(text: str) -> Place:
    """Decode a cursor; return START for "". Raises QueryFault."""
    if not text:
        return START
    try:
        octets = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        place: Place = _decoder.decode(octets)
    except (ValueError, binascii.Error):  # msgspec's errors are subclasses of ValueError
        raise QueryFault("cursor: give `next` of the previous page, unchanged") from None
    return place


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
    # Unprintable characters are removed, because a line end in the value would begin another header
    # field.
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
