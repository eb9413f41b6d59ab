"""Plans what a command on mail.control writes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from shared.topics.control import Order, Scope, Verb

_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
DAY_MS: Final = 86_400_000
# How long an order that is over stays on record.
KEPT_MS: Final = 30 * DAY_MS
# A forgotten order must end some time; an order with a final effect ends sooner, because its
# effect cannot be undone.
DEFAULT_FOR: Final = {
    Verb.SUSPEND: "1d",
    Verb.REROUTE: "1d",
    Verb.BOUNCE: "1h",
    Verb.EXPIRE: "1h",
    # Longer than any message waits.
    Verb.CANCEL: "49d",
    Verb.RELEASE: "49d",
}


def duration_s(text: str) -> int | None:
    """Return the seconds of a text such as 90s, 30m, 2h or 7d; None if it is none, or 0."""
    return delay_s(text) or None


def delay_s(text: str) -> int | None:
    """The same for a time that may be 0."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNIT_S[match[2]] if match else None


def forgotten(orders: Iterable[Order], now_ms: int) -> list[Order]:
    """Return the orders that have been over for so long that they need not be kept."""
    return [
        order
        for order in orders
        if order.is_over(now_ms) and max(order.at_ms, order.expires_at_ms) + KEPT_MS < now_ms
    ]


def in_force(orders: Iterable[Order], scope: Scope, now_ms: int) -> Order | None:
    """Return the order in force on exactly this scope; None without one."""
    found = next((order for order in orders if order.scope == scope), None)
    return None if found is None or found.is_over(now_ms) else found


def resumption(found: Order, resume: Order) -> Order:
    """Return the order that ends `found`, with the author, reason and time of `resume`."""
    return replace(
        found,
        verb=Verb.RESUME,
        author=resume.author,
        reason=resume.reason,
        at_ms=resume.at_ms,
        expires_at_ms=0,
        target="",
    )
