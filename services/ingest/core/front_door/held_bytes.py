"""Bounds the memory for messages that the front door receives or stores. Pure.

The whole size of the largest message is held from DATA on, however slowly the message comes, so
that no message is refused while it arrives. One client holds at most half of the memory, and at
most twice what is left, so that neither it nor two together keep all others from sending: each
further one that sends slowly gets less, and all of them leave some. It always holds one message if
there is room, even if that is more.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

_SHARES_OF_CLIENT: Final = 2
# Several clients, each at its share, leave room for others (0284).
_PARTS_OF_WHAT_IS_LEFT: Final = 2


class HeldBytes:
    """The bytes held by all connections of one door."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._total_bytes = 0
        self._by_client: Counter[str] = Counter()

    def has_room(self, client: str, size_bytes: int) -> bool:
        """Whether this client may hold this much more."""
        before_bytes = self._by_client[client]
        left_bytes = self._most_bytes - self._total_bytes - size_bytes
        share_bytes = min(
            self._most_bytes // _SHARES_OF_CLIENT, left_bytes * _PARTS_OF_WHAT_IS_LEFT
        )
        is_first = not before_bytes
        return left_bytes >= 0 and (is_first or before_bytes + size_bytes <= share_bytes)

    def add(self, client: str, size_bytes: int) -> None:
        """Note that this client holds this much more, or less if it is negative."""
        self._total_bytes += size_bytes
        self._by_client[client] += size_bytes
        if self._by_client[client] <= 0:
            del self._by_client[client]  # so that it has nothing of clients that have gone
