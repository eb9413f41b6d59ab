"""Invoice months: maps a time to its month in the installation's time zone."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from typing import Final

# Offsets of time zones in use today are multiples of 15 minutes, so a quarter hour lies in one
# month.
_QUARTER_MS: Final = 15 * 60 * 1000
# 4,096 quarter hours are 42 days: enough for live counting, and a bound for a recount.
_CACHED: Final = 4096
# The first millisecond of year 10000, which datetime cannot express.
_TOO_LATE_MS: Final = 253_402_300_800_000 - 86_400_000
_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


def is_month(text: str) -> bool:
    """Whether `text` is a month, written YYYY-MM."""
    return _MONTH.fullmatch(text) is not None


class Months:
    """Maps times to months (YYYY-MM) in one time zone."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._known: dict[int, str] = {}

    def of(self, at_ms: int) -> str:
        """The month of a Unix time in milliseconds. Raises ValueError if it is out of range."""
        quarter = at_ms // _QUARTER_MS
        month = self._known.get(quarter)
        if month is None:
            month = self._compute(at_ms)
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[quarter] = month
        return month

    def _compute(self, at_ms: int) -> str:
        if not 0 <= at_ms < _TOO_LATE_MS:
            raise ValueError(f"{at_ms} is not a time in milliseconds since 1970")
        moment = datetime.fromtimestamp(at_ms / 1000, self._zone)
        return f"{moment.year:04d}-{moment.month:02d}"
