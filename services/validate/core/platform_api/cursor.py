"""The cursor of a list of entries: after which entry the next page begins. Pure.

It is opaque to platforms and not signed: a page never shows more than the key may see.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from services.validate.core.platform_api.faults import QueryFault

MAX_CHARS: Final = 1_000
Place = tuple[str, str, str]
START: Final[Place] = ("", "", "")
_decoder: Final = msgspec.json.Decoder(Place)


def encode_cursor(place: Place) -> str:
    """Return the text of a cursor."""
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode_cursor(text: str) -> Place:
    """Return the place of a cursor, START for "". Raises QueryFault."""
    if not text:
        return START
    try:
        octets = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        place: Place = _decoder.decode(octets)
    except (ValueError, binascii.Error):  # msgspec's errors are ValueErrors
        raise QueryFault("cursor: give `next` of the page before, unchanged") from None
    return place
