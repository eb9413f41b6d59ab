"""Which month is open, closing or closed, and which one is next."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.billing.core.month import Months, MonthState, due, next_to_close, state_of

UTC_MONTHS = Months(UTC)
GRACE_MS = 72 * 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("month", "closed", "now", "state"),
    [
        ("2026-10", "", "2026-10-31T23:59:59+00:00", MonthState.OPEN),
        ("2026-10", "", "2026-11-01T00:00:00+00:00", MonthState.CLOSING),
        ("2026-10", "2026-09", "2026-12-01T00:00:00+00:00", MonthState.CLOSING),
        ("2026-10", "2026-10", "2026-11-01T00:00:00+00:00", MonthState.CLOSED),
        ("2026-01", "2026-10", "2026-11-01T00:00:00+00:00", MonthState.EARLIER),
        ("1970-01", "2026-09 2026-10", "2026-11-01T00:00:00+00:00", MonthState.EARLIER),
        ("2026-09", "2026-09 2026-10", "2026-11-01T00:00:00+00:00", MonthState.CLOSED),
        ("2027-01", "2026-10", "2026-11-01T00:00:00+00:00", MonthState.OPEN),
    ],
)
def test_a_month_is_open_then_closing_then_closed(
    month: str, closed: str, now: str, state: MonthState
) -> None:
    assert state_of(month, closed.split(), UTC_MONTHS, ms(now)) is state


@pytest.mark.parametrize(
    ("counted", "closed", "month"),
    [
        ([], "", ""),
        (["2026-11"], "", ""),
        (["2026-10", "2026-11"], "", "2026-10"),
        (["2026-08", "2026-11"], "", "2026-08"),
        (["1970-01", "2026-10"], "", "2026-10"),  # a wrong time: an adjustment
        (["2025-10", "2026-10"], "", "2025-10"),
        (["2025-09", "2026-10"], "", "2026-10"),
        (["2027-05"], "", ""),  # a time in the future: its month comes
        (["2026-10"], "2026-08", "2026-09"),  # a month without counts has a statement too
        ([], "2026-09", "2026-10"),
        ([], "2026-10", ""),
        (["2026-05"], "2026-10", ""),  # late: an adjustment
    ],
)
def test_months_are_closed_one_after_another(counted: list[str], closed: str, month: str) -> None:
    assert next_to_close(counted, closed, "2026-11") == month


@pytest.mark.parametrize(
    ("now", "zone", "month"),
    [
        ("2026-11-03T23:59:59+00:00", "UTC", ""),
        ("2026-11-04T00:00:00+00:00", "UTC", "2026-10"),
        ("2026-11-03T10:00:00+00:00", "Pacific/Kiritimati", "2026-10"),
        ("2026-11-03T09:59:59+00:00", "Pacific/Kiritimati", ""),
        ("2026-11-04T12:00:00+00:00", "Etc/GMT+12", "2026-10"),
        ("2026-11-04T11:59:59+00:00", "Etc/GMT+12", ""),
    ],
)
def test_a_month_is_due_when_its_grace_is_over(now: str, zone: str, month: str) -> None:
    months = Months(ZoneInfo(zone))
    assert due(["2026-10"], "2026-09", months, ms(now), GRACE_MS) == month
