"""The cells: one count per client, mailing ID, sub-client, day and counter.

A cell's JSON is its name in the store, so a new field must be the last one. Cells that were written
by versions without days have the day "".
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from shared.topics.records import EventType

BILLED: Final = "billed"
RECEIVED: Final = "received"
# The sum of the sizes of the billed messages, as they were submitted.
BYTES: Final = "bytes"
# The counters of a row, in the order in which they are shown.
COUNTERS: Final = (
    BILLED,
    RECEIVED,
    EventType.REFUSED.value,
    EventType.SUPPRESSED.value,
    EventType.DELIVERED.value,
    EventType.BOUNCED.value,
    EventType.EXPIRED.value,
    EventType.CANCELLED.value,
    EventType.DEFERRED.value,
    EventType.IN_DOUBT.value,
    EventType.RETURNED.value,
    EventType.COMPLAINED.value,
    EventType.UNSUBSCRIBED.value,
    EventType.FORWARDED.value,
    BYTES,
)


class Cell(Struct, frozen=True, array_like=True, order=True):
    """One counter of one mailing on one day; its JSON is the cell's name in the store.

    `detail` divides a counter: `refused` by rule, `suppressed` by reason, `bounced` by class. The
    cell with the detail "" always has the total. A refused message counts under every rule that it
    breaks, so the details of `refused` may add up to more than the total.
    """

    client: str
    mailing_id: str
    sub_client: str
    counter: str
    day: str = ""  # the day of the month, 01 to 31
    detail: str = ""


_cell: Final = msgspec.json.Decoder(Cell)
_encoder: Final = msgspec.json.Encoder()


def encode_cell(cell: Cell) -> str:
    """Encode a cell as its name in the store."""
    return _encoder.encode(cell).decode()


def decode_cell(name: str) -> Cell:
    """Decode a cell's name. Raises msgspec.DecodeError if it is not valid."""
    return _cell.decode(name)
