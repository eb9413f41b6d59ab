"""The byte format of mail.returned: the value is the message, the header `m` a msgpack `Returned`.

Owns: the encoding. Does not own: the shape (records.py), the names (names.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from shared.topics.codec import CodecError, Headers
from shared.topics.records import Returned

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Returned)


def encode_returned(returned: Returned) -> tuple[bytes, Headers]:
    """Return key and headers of the record; its value is the message as received.

    The key is the client: one client's mail fills no other partition than its own.
    """
    return returned.client.encode(), [("m", _encoder.encode(returned))]


def decode_returned(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Returned:
    """Return what is known about a record of mail.returned. Raises CodecError."""
    meta = next((content for name, content in headers if name == "m"), None)
    if meta is None or value is None:
        raise CodecError("not returned mail: the record has no header 'm' or no value")
    try:
        return _decoder.decode(meta)
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"not returned mail: header 'm': {error}") from None
