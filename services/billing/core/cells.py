"""The cells: one count per client, mailing ID, sub-client, day and counter.

The store uses the JSON of a cell as the key of its count, so a new field must be added at the end.
An earlier version did not count by day. The cells that the earlier version wrote have the day "".
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from shared.topics.records import EventType

BILLED: Final = "billed"
RECEIVED: Final = "received"
# The counter of bytes: the sum of the sizes of the billed messages at submission.
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
    """One counter of one mailing on one day. The store uses the JSON of the cell as its key.

    `detail` is a rule for the counter `refused`, a reason for `suppressed`, and a bounce class for
    `bounced`. The cell with the detail "" has the total of its counter. A refused message is
    counted once for every rule that it breaks. So the sum of the details of `refused` may be higher
    than the total.
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
    """Return the name that the cell has in the store."""
    return _encoder.encode(cell).decode()


def decode_cell(name: str) -> Cell:
    """Return the cell with this name. Raises msgspec.DecodeError if the name is not valid."""
    return _cell.decode(name)
