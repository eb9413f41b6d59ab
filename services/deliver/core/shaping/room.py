"""How many messages of one process may wait in memory for one limit. Pure.

`share`: the messages per second that the process may send under the limit.
"""

from __future__ import annotations

from typing import Final

# In seconds of the share: new mail; new mail while turns come; mail whose turn has come, since it
# is read all at once.
ROOM_S: Final = 2.0
FILL_S, BACK_ROOM_S = 0.5, 10.0
LEAST_ROOM: Final = 50
# Of new mail while half of what may be in flight waits for limits.
CROWDED_ROOM: Final = 10
NEARLY_FULL: Final = 0.75


def for_new(share: float) -> float:
    """Return how many of the messages that come for the first time may wait."""
    return max(LEAST_ROOM, ROOM_S * share)


def for_back(share: float, *, is_scarce: bool) -> float:
    """How many may wait, of those whose turn has come. `is_scarce`: others need the room."""
    return LEAST_ROOM if is_scarce else max(2 * LEAST_ROOM, BACK_ROOM_S * share)


def nearly_full(share: float, *, is_scarce: bool) -> float:
    """From how many on mail whose turn has come is left on its topic (retry_holds.py)."""
    return NEARLY_FULL * for_back(share, is_scarce=is_scarce)
