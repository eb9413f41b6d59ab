"""Computes how many messages of one process may wait in memory for one limit. Pure.

`share` is the number of messages per second that the process may send under the limit.
"""

from __future__ import annotations

from typing import Final

# The room is the number of messages that the share allows in this time. ROOM_S is for new mail, and
# FILL_S is for new mail while mail with turns is expected. BACK_ROOM_S is for mail whose turn has
# come. BACK_ROOM_S is larger, because mail whose turn has come is read all at once.
ROOM_S: Final = 2.0
FILL_S, BACK_ROOM_S = 0.5, 10.0
LEAST_ROOM: Final = 50
# The room for new mail while mail that waits for limits uses at least half of Workers.room.
CROWDED_ROOM: Final = 10
NEARLY_FULL: Final = 0.75


def for_new(share: float) -> float:
    """Return the number of new messages that may wait."""
    return max(LEAST_ROOM, ROOM_S * share)


def for_back(share: float, *, is_scarce: bool) -> float:
    """Return how many messages may wait after their turn; fewer if the room is scarce."""
    return LEAST_ROOM if is_scarce else max(2 * LEAST_ROOM, BACK_ROOM_S * share)


def nearly_full(share: float, *, is_scarce: bool) -> float:
    """Return how many messages must wait before further mail stays on its topic (holds.py)."""
    return NEARLY_FULL * for_back(share, is_scarce=is_scarce)
