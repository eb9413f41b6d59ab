"""Limits the memory for messages that the bounce door receives or stores. This module does no I/O.

Peers do not log in. So a peer is identified only by its address, and a client only by the
recipients. No address and no client may use all the memory, so one address may hold at most a
quarter of the memory, and one client at most half. Bytes are held as they arrive. The size of the
largest message is not held in advance, because nearly all returned mail is small. While a message
arrives, its bytes are counted once. While the message is stored, its bytes are counted once per
recipient, because there is a record for each recipient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

# While a message arrives, the number of held bytes grows in steps of this size.
STEP_BYTES: Final = 65_536
_SHARES_OF_ADDRESS: Final = 4
_SHARES_OF_CLIENT: Final = 2


class HeldBytes:
    """The bytes held by all connections of one door."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.total_bytes = 0
        self.by_address: Counter[str] = Counter()
        self.by_client: Counter[str] = Counter()


class Hold:
    """The bytes that one connection holds for the message that it receives or stores."""

    __slots__ = ("_address", "_clients", "_copies", "_held", "size_bytes")

    def __init__(self, held: HeldBytes, address: str) -> None:
        """`address` is the key under which the peer is counted."""
        self._held = held
        self._address = address
        self._clients: Counter[str] = Counter()
        self._copies = 0
        self.size_bytes = 0

    def try_begin(self, clients: Sequence[str]) -> bool:
        """Hold STEP_BYTES for a message that begins to arrive and whose recipients belong to these
        clients. Return False if there is no room."""
        self.release()
        # While the message arrives, there is only one copy of it. The copy is counted for each
        # client.
        self._clients = Counter(set(clients))
        self._copies = 1
        return self.try_resize(STEP_BYTES)

    def try_store(self, size_bytes: int, clients: Sequence[str]) -> bool:
        """Hold the bytes of a whole message once per recipient.

        If there is no room, change nothing and return False.
        """
        before = (self._clients, self._copies, self.size_bytes)
        self._add(-self.size_bytes)
        self._clients, self._copies, self.size_bytes = Counter(clients), len(clients), 0
        if self.try_resize(size_bytes):
            return True
        self._clients, self._copies, self.size_bytes = before
        self._add(self.size_bytes)
        return False

    def try_resize(self, size_bytes: int) -> bool:
        """Hold `size_bytes` for the message instead of the present number of bytes.

        If there is no room, change nothing and return False.
        """
        more = size_bytes - self.size_bytes
        if more > 0 and not self._has_room(more):
            return False
        self._add(more)
        self.size_bytes = size_bytes
        return True

    def release(self) -> None:
        """Release all held bytes."""
        self._add(-self.size_bytes)
        self.size_bytes = 0
        self._clients = Counter()
        self._copies = 0

    def _has_room(self, more: int) -> bool:
        held, whole = self._held, more * self._copies
        most = held.most_bytes
        return (
            held.total_bytes + whole <= most
            and held.by_address[self._address] + whole <= most // _SHARES_OF_ADDRESS
            and all(
                held.by_client[client] + more * count <= most // _SHARES_OF_CLIENT
                for client, count in self._clients.items()
            )
        )

    def _add(self, more: int) -> None:
        held, whole = self._held, more * self._copies
        held.total_bytes += whole
        _change(held.by_address, self._address, whole)
        for client, count in self._clients.items():
            _change(held.by_client, client, more * count)


def _change(counts: Counter[str], key: str, more: int) -> None:
    counts[key] += more
    if counts[key] <= 0:
        del counts[key]  # keys that hold no bytes are removed


def steps_of(size_bytes: int) -> int:
    """Round a number of bytes up to a multiple of STEP_BYTES."""
    return -(-size_bytes // STEP_BYTES) * STEP_BYTES
