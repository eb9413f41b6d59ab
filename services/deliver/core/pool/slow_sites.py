"""How much of what is in flight the slow sites may have, so that the others keep their room. Pure.

Messages in flight are limited in a process, and a site that takes minutes per message would soon
have all of them: the mail of all other sites would wait behind it. A site is slow if a message that
comes now would wait for long. All slow sites together have half of the room, in equal shares; what
is beyond is turned away, to come back when its turn is near.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

SLOW_S: Final = 10.0
SHARE: Final = 0.5


class Room(Struct, frozen=True):
    """What may be in flight in this process."""

    messages: int
    content_bytes: int


class SiteLoad(Struct, frozen=True):
    """What is in flight for one site, and how long a message that comes now would wait."""

    messages: int
    content_bytes: int
    wait_s: float


def shares(loads: Mapping[str, SiteLoad], room: Room) -> dict[str, int]:
    """How many messages each slow site may have in flight, at least one; others are left out."""
    slow = {name: load for name, load in loads.items() if load.wait_s >= SLOW_S}
    if not slow:
        return {}
    messages = SHARE * room.messages
    held = sum(load.content_bytes for load in slow.values())
    if held > SHARE * room.content_bytes:
        # In proportion: what they hold now would fit, if there were fewer of them.
        count = sum(load.messages for load in slow.values())
        messages = min(messages, count * SHARE * room.content_bytes / held)
    return dict.fromkeys(slow, max(1, int(messages / len(slow))))
