"""How much of what is in flight the slow sites may have, so that the others keep their room. Pure.

Messages in flight are limited in a process, and a site that takes minutes per message would soon
have all of them: the mail of all other sites would wait behind it. A site is slow if a message that
comes now would wait for long, and that is so for some time: the first transactions of a burst say
little. All slow sites together have half of the room, in equal shares; what is beyond is turned
away, to come back when its turn is near.

A site with an idle connection whose mail waits for a limit is not slow: shaping keeps that mail
from taking the room of others (core/shaping/allowance.py), and what has come back for its turn
would be written to Kafka once more.

Turning away costs as much as a delivery. A site whose mail waits only because there is so much of
it keeps it, as long as no other site has mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

SLOW_S: Final = 10.0
# The wait at which a site is slow though no other has mail: mail for others that comes now is not
# seen before there is room for it.
SLOW_ALONE_S: Final = 20.0
SHARE: Final = 0.5
# How long a site is watched before it is called slow.
WATCH_S: Final = 2.0
# How long a site counts as having mail, after its last message.
HAS_MAIL_S: Final = 10.0


class Room(Struct, frozen=True):
    """How many messages may be in flight in this process."""

    messages: int
    content_bytes: int


class SiteLoad(Struct, frozen=True):
    """How many messages are in flight for one site, and how long a new message would wait."""

    messages: int
    content_bytes: int
    wait_s: float
    last_added_at: float = 0.0


class SlowSites:
    """Which sites are slow. All times are seconds of one monotonic clock."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._since: dict[str, float] = {}  # when each wait was first seen to be long

    def shares(self, loads: Mapping[str, SiteLoad], now: float) -> dict[str, int]:
        """How many messages each slow site may have in flight; others are left out."""
        waiting = {name: load for name, load in loads.items() if load.wait_s >= SLOW_S}
        self._since = {name: self._since.get(name, now) for name in waiting}
        slow = {name: waiting[name] for name, at in self._since.items() if now - at >= WATCH_S}
        if not _others_have_mail(loads, slow, now):
            slow = {name: load for name, load in slow.items() if load.wait_s >= SLOW_ALONE_S}
        return shares(slow, self._room)


def _others_have_mail(
    loads: Mapping[str, SiteLoad], slow: Mapping[str, SiteLoad], now: float
) -> bool:
    return any(
        load.messages or now - load.last_added_at < HAS_MAIL_S
        for name, load in loads.items()
        if name not in slow
    )


def shares(slow: Mapping[str, SiteLoad], room: Room) -> dict[str, int]:
    """How many messages each of these slow sites may have in flight, at least one."""
    if not slow:
        return {}
    messages = SHARE * room.messages
    held = sum(load.content_bytes for load in slow.values())
    if held > SHARE * room.content_bytes:
        # In proportion: what they hold now would fit, if there were fewer of them.
        count = sum(load.messages for load in slow.values())
        messages = min(messages, count * SHARE * room.content_bytes / held)
    return dict.fromkeys(slow, max(1, int(messages / len(slow))))
