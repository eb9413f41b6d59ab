"""The number of messages of one process that may wait in memory for one limit. Pure.

`share`: the messages per second that the process may send under the limit.
"""

from __future__ import annotations

from typing import Final

# In seconds of the share: for new mail; for new mail while turns come; for mail whose turn has
# come, because it is read all at once.
ROOM_S: Final = 2.0
FILL_S, BACK_ROOM_S = 0.5, 10.0
LEAST_ROOM: Final = 50
# For new mail while mail that waits for limits is half of the most in flight.
CROWDED_ROOM: Final = 10
NEARLY_FULL: Final = 0.75


def for_new(share: float) -> float:
    """The number of new messages that may wait."""
    return max(LEAST_ROOM, ROOM_S * share)


def for_back(share: float, *, is_scarce: bool) -> float:
    """The number of messages that may wait after their turn came; `is_scarce`: others need room."""
    return LEAST_ROOM if is_scarce else max(2 * LEAST_ROOM, BACK_ROOM_S * share)


def nearly_full(share: float, *, is_scarce: bool) -> float:
    """The number from which on mail whose turn has come stays on its topic (holds.py)."""
    return NEARLY_FULL * for_back(share, is_scarce=is_scarce)
