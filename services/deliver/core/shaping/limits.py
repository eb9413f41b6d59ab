"""Parses the limits of the shaping rules, and writes them as text. Pure.

`200/s`, `1000/min`, `10/5min` and `5MB/s` are rates. A rate is spread evenly, so `60/min` is one
per second. `10000 in 24h` is a rolling window: all 10000 messages may be sent at once, but never
more than 10000 in any period of 24 hours. `10% of 500 in 24h` is a ratio. This ratio is exceeded if
there are at least 500 messages and more than a tenth of these messages have the counted result,
such as a bounce.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

_UNITS_S: Final = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_SIZES: Final = {"": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_LIMIT: Final = re.compile(
    r"(?P<amount>\d{1,12})(?P<size>KB|MB|GB)?\s*(?P<sign>/|in)\s*(?P<count>\d{1,6})?(?P<unit>s|min|h|d)",
    re.ASCII,
)
_DURATION: Final = re.compile(r"(\d{1,6})(s|min|h|d)", re.ASCII)
_RATIO: Final = re.compile(
    r"(?P<share>\d{1,3}(?:\.\d{1,4})?)% of (?P<least>\d{1,9}) in (?P<count>\d{1,2})?(?P<unit>h|d)",
    re.ASCII,
)
SHORTEST_WINDOW_S: Final = 3_600
LONGEST_WINDOW_S: Final = 48 * 3_600
EXPECTED_RATIO: Final = '"10% of 500 in 24h" (share, least messages, window) or "off"'
LONGEST_PERIOD_S: Final = 31 * 86_400
EXPECTED: Final = '"200/s", "1000/min", "10/5min", "5MB/s" or "10000 in 24h"'
EXPECTED_DURATION: Final = '"30s", "15min", "4h" or "1d"'


class Unit(StrEnum):
    """The unit in which a limit counts."""

    MESSAGES = "messages"
    BYTES = "bytes"


class Limit(Struct, frozen=True):
    """At most `amount` per `period_s`, spread evenly.

    If `is_window` is True, the limit is at most `amount` in any period of `period_s`.
    """

    amount: int
    period_s: int
    is_window: bool = False
    unit: Unit = Unit.MESSAGES

    @property
    def per_s(self) -> float:
        """Return the average rate per second."""
        return self.amount / self.period_s

    def __str__(self) -> str:
        period = _period(self.period_s)
        if self.is_window:
            return f"{self.amount} in {period if period[0].isdigit() else '1' + period}"
        return f"{self.amount}/{period}"


class Ratio(Struct, frozen=True):
    """A limit on a share of messages.

    The limit applies only if there are at least `least` messages within `window_s`.
    """

    share: float
    least: int
    window_s: int

    def __str__(self) -> str:
        window = _period(self.window_s)
        window = window if window[0].isdigit() else f"1{window}"
        return f"{self.share * 100:g}% of {self.least} in {window}"


def parse_ratio(text: str) -> Ratio:
    """Read a ratio. Raises ValueError with a text that shows the expected form."""
    found = _RATIO.fullmatch(text.strip())
    if found is None or not int(found["least"]) or not float(found["share"]) <= 100:
        raise ValueError(f"expected {EXPECTED_RATIO}")
    window_s = int(found["count"] or 1) * _UNITS_S[found["unit"]]
    if not SHORTEST_WINDOW_S <= window_s <= LONGEST_WINDOW_S:
        raise ValueError("expected a window from 1h to 48h")
    return Ratio(float(found["share"]) / 100, int(found["least"]), window_s)


def parse_limit(text: str, unit: Unit = Unit.MESSAGES) -> Limit:
    """Read a limit. Raises ValueError with a text that shows the expected form."""
    found = _LIMIT.fullmatch(text.strip())
    if found is None or (found["size"] and unit is Unit.MESSAGES):
        raise ValueError(f"expected {EXPECTED}")
    amount = int(found["amount"]) * _SIZES[found["size"] or ""]
    period_s = int(found["count"] or 1) * _UNITS_S[found["unit"]]
    if not amount or not 0 < period_s <= LONGEST_PERIOD_S:
        raise ValueError("expected an amount above 0, in at most 31 days")
    return Limit(amount, period_s, found["sign"] == "in", unit)


def parse_duration(text: str) -> int:
    """Read a duration in seconds. Raises ValueError with a text that shows the expected form."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ValueError(f"expected {EXPECTED_DURATION}")
    return int(found[1]) * _UNITS_S[found[2]]


def _period(seconds: int) -> str:
    for unit in ("d", "h", "min"):
        if seconds % _UNITS_S[unit] == 0:
            count = seconds // _UNITS_S[unit]
            return unit if count == 1 else f"{count}{unit}"
    return "s" if seconds == 1 else f"{seconds}s"
