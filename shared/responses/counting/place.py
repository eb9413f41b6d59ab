"""The place in the log up to which bounces are counted, as text: it is stored with the counters.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from shared.responses.counting.merging import Source

_places: Final = msgspec.json.Decoder(dict[str, int])


def encode_place(offsets: Mapping[Source, int]) -> str:
    """Return the text of a place in the log; equal places have equal texts."""
    named = {f"{topic}/{partition}": offset for (topic, partition), offset in offsets.items()}
    return msgspec.json.encode(named, order="deterministic").decode()


def decode_place(text: str) -> dict[Source, int]:
    """Return the offsets of a place."""
    named: dict[str, int] = _places.decode(text) if text else {}
    parts = ((name.rpartition("/"), offset) for name, offset in named.items())
    return {Source(topic, int(partition)): offset for (topic, _, partition), offset in parts}
