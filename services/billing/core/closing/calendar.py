"""Which month may be closed next, and the state of each month."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from services.billing.core.month import Months, next_month

# A month that ended longer ago gets no statement of its own at the first close: its counts are
# adjustments of the first statement. Otherwise one event dated 1970 would close 700 months.
FIRST_REACH_MONTHS: Final = 13


class MonthState(StrEnum):
    """The state of a month."""

    OPEN = "open"  # it has not ended
    CLOSING = "closing"  # it has ended, and events of it may still come
    CLOSED = "closed"  # its statement is on billing.statements
    # It is before the first statement, and was counted afterwards: an event of long ago, or with a
    # wrong time. It gets no statement; its counts are adjustments of the next one.
    EARLIER = "earlier"


def state_of(month: str, closed: Collection[str], months: Months, now_ms: int) -> MonthState:
    """The state of a month; `closed` are all months that have a statement."""
    if month in closed:
        return MonthState.CLOSED
    if closed and month < max(closed):
        return MonthState.EARLIER
    return MonthState.CLOSING if months.end_ms(month) <= now_ms else MonthState.OPEN


def next_to_close(counted: Collection[str], closed: str, present: str) -> str:
    """The month that is closed next: after the last closed month, or the first that has counts.

    "" if that month has not ended. `present`: the month of the present time.
    """
    if closed:
        month = next_month(closed)
    else:
        earliest = next_month(present, -FIRST_REACH_MONTHS)
        month = min((each for each in counted if each >= earliest), default=present)
    return month if month < present else ""


def due(counted: Collection[str], closed: str, months: Months, now_ms: int, grace_ms: int) -> str:
    """The month that is closed now without a command; "" if there is none."""
    month = next_to_close(counted, closed, months.of(now_ms))
    return month if month and months.end_ms(month) + grace_ms <= now_ms else ""
