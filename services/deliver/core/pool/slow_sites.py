"""Limits how many messages of slow sites are in flight, so that other sites have room. Pure.

Each process limits the number of its messages in flight. Without further limits, a site that needs
minutes per message would soon fill this room. The mail of all other sites would then wait behind
the mail of this site. A site is slow if a new message would have to wait for a long time. The wait
must have been long for some time already, because the first transactions of a burst say little. All
slow sites together may use half of the room, in equal shares. Mail beyond a share is turned away
and comes back when its turn is near.

A site is not slow if it has an idle connection and its mail waits for a limit. Shaping already
prevents such mail from taking the room of other mail (core/shaping/allowance.py). If this mail were
turned away, messages that have just come back for their turn would be written to Kafka again.

Turning a message away costs as much as a delivery. So while no other site has mail, mail is not
turned away if it waits only because there is a lot of mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

SLOW_S: Final = 10.0
# A site with a wait of at least this time is slow even if no other site has mail. The reason is
# that a process without room cannot read mail for other sites.
SLOW_ALONE_S: Final = 20.0
SHARE: Final = 0.5
# A site counts as slow only after its wait has been long for this time.
WATCH_S: Final = 2.0
# A site counts as having mail for this time after its last message.
HAS_MAIL_S: Final = 10.0


class Room(Struct, frozen=True):
    """The most messages, and the most bytes of content, that may be in flight in this process."""

    messages: int
    content_bytes: int


class SiteLoad(Struct, frozen=True):
    """The messages in flight for one site, and the likely wait of a new message for this site."""

    messages: int
    content_bytes: int
    wait_s: float
    last_added_at: float = 0.0


class SlowSites:
    """Decides which sites are slow. All times are seconds of one monotonic clock."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._since: dict[str, float] = {}  # the time at which the long wait of each site began

    def shares(self, loads: Mapping[str, SiteLoad], now: float) -> dict[str, int]:
        """Return how many messages each slow site may have in flight; other sites are left out."""
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
    """Return how many messages each of these slow sites may have in flight; at least one."""
    if not slow:
        return {}
    messages = SHARE * room.messages
    held = sum(load.content_bytes for load in slow.values())
    if held > SHARE * room.content_bytes:
        # Reduce the number of messages in proportion, so that messages of this size fit.
        count = sum(load.messages for load in slow.values())
        messages = min(messages, count * SHARE * room.content_bytes / held)
    return dict.fromkeys(slow, max(1, int(messages / len(slow))))
