"""Finds the invoice day and month of a time, the state of a month, and the next month to close.

Days and months begin and end in the time zone of the installation.

A month is written YYYY-MM and a day YYYY-MM-DD, so both can be sorted as text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

# Offsets of time zones in use today are multiples of 15 minutes, so a quarter hour lies in one day.
_QUARTER_MS: Final = 15 * 60 * 1000
# 4,096 quarter hours are 42 days. That is enough for live counting and bounds a recount.
_CACHED: Final = 4096
# One day before the year 10000, because datetime cannot express the year 10000.
_TOO_LATE_MS: Final = 253_402_300_800_000 - 86_400_000
# The last month that datetime can express, and the last second of that month.
_LAST_MONTH: Final = "9999-12"
_LAST_MS: Final = 253_402_300_799_000
_MONTH: Final = re.compile(r"(19|[2-9][0-9])[0-9]{2}-(0[1-9]|1[0-2])")
# The first statement is for a month that is at most this many months ago. The counts of earlier
# months become adjustments in the first statement. Without this limit, one event with a date in
# 1970 would make the billing service close 700 months.
FIRST_REACH_MONTHS: Final = 13


class MonthState(StrEnum):
    """The state of a month."""

    OPEN = "open"  # The month has not ended.
    CLOSING = "closing"  # The month has ended, but its events may still arrive.
    CLOSED = "closed"  # The month's statement is on billing.statements.
    # The month is before the last closed month and has no statement, because its events came late
    # or have a wrong time. Its counts become adjustments of the next statement.
    EARLIER = "earlier"


def is_month(text: str) -> bool:
    """Return True if `text` is a month in the form YYYY-MM, and not before 1900."""
    return _MONTH.fullmatch(text) is not None


def next_month(month: str, steps: int = 1) -> str:
    """Return the month that is `steps` months later. If `steps` is negative, return an earlier
    month."""
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]) - 1 + steps, 12)
    return f"{year:04d}-{number + 1:02d}"


class Months:
    """Maps times to days and months in one time zone."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._known: dict[int, str] = {}

    def of(self, at_ms: int) -> str:
        """Return the month of a Unix time in milliseconds. Raises ValueError if the time is out of
        range."""
        return self.day(at_ms)[:7]

    def day(self, at_ms: int) -> str:
        """Return the day of a Unix time in milliseconds. Raises ValueError if the time is out of
        range."""
        quarter = at_ms // _QUARTER_MS
        day = self._known.get(quarter)
        if day is None:
            day = self._compute(at_ms)
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[quarter] = day
        return day

    def begin_ms(self, month: str) -> int:
        """Return the first millisecond of a month.

        If a clock change skips midnight, the month begins at the first time after the skipped
        hours. If a clock change repeats midnight, the month begins at the first midnight.
        """
        naive = datetime(int(month[:4]), int(month[5:]), 1)
        # If the clock skips this time, the conversion to UTC yields a time after the clock change.
        at_ms = int(naive.replace(tzinfo=self._zone).astimezone(UTC).timestamp() * 1000)
        while self._date(at_ms - 1)[:7] == month:
            at_ms -= _QUARTER_MS
        return at_ms

    def end_ms(self, month: str) -> int:
        """Return the first millisecond after a month. For the month 9999-12, return its last
        second."""
        return _LAST_MS if month == _LAST_MONTH else self.begin_ms(next_month(month))

    def day_range_ms(self, day: str) -> tuple[int, int]:
        """Return the first millisecond of a day (YYYY-MM-DD) and of the next day."""
        date = datetime.fromisoformat(day)
        is_last = date.date() == datetime.max.date()
        end_ms = _LAST_MS if is_last else self._midnight_ms(date + timedelta(days=1))
        return self._midnight_ms(date), end_ms

    def _midnight_ms(self, naive: datetime) -> int:
        return int(naive.replace(tzinfo=self._zone).astimezone(UTC).timestamp() * 1000)

    def _compute(self, at_ms: int) -> str:
        if not 0 <= at_ms < _TOO_LATE_MS:
            raise ValueError(f"{at_ms} is not a time in milliseconds since 1970")
        return self._date(at_ms)

    def _date(self, at_ms: int) -> str:
        """Return the day of a time like day(), but do not check that the time is in the valid
        range."""
        moment = datetime.fromtimestamp(at_ms / 1000, self._zone)
        return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"


def state_of(month: str, closed: Collection[str], months: Months, now_ms: int) -> MonthState:
    """Return the state of a month. `closed` has all months with a statement."""
    if month in closed:
        return MonthState.CLOSED
    if closed and month < max(closed):
        return MonthState.EARLIER
    return MonthState.CLOSING if months.end_ms(month) <= now_ms else MonthState.OPEN


def next_to_close(counted: Collection[str], closed: str, present: str) -> str:
    """Return the month to close next: the month after the last closed month or, if no month is
    closed, the first month with counts.

    Return "" if the month to close next has not ended. `present` is the present month.
    """
    if closed:
        month = next_month(closed)
    else:
        earliest = next_month(present, -FIRST_REACH_MONTHS)
        month = min((each for each in counted if each >= earliest), default=present)
    return month if month < present else ""


def due(counted: Collection[str], closed: str, months: Months, now_ms: int, grace_ms: int) -> str:
    """Return the month that must be closed automatically now. Return "" if no month must be
    closed."""
    month = next_to_close(counted, closed, months.of(now_ms))
    return month if month and months.end_ms(month) + grace_ms <= now_ms else ""
