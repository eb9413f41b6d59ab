"""Days and months in every time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.month import Months, MonthState, is_month, next_month, state_of
from services.billing.core.usage_api.tables import utc_text
from tests.support.billing.records import ms

# From -12 to +14, with half and quarter hours, and clocks that skip or repeat midnight.
NAMED = (
    "UTC",
    "Etc/GMT+12",
    "Etc/GMT-14",
    "Pacific/Kiritimati",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Beirut",
    "Africa/Cairo",
    "Europe/Berlin",
)
zones = st.sampled_from(NAMED).map(ZoneInfo) | st.integers(-48, 56).map(
    lambda quarters: timezone(timedelta(minutes=15 * quarters))
)
times = st.integers(946_684_800_000, 4_102_444_800_000)  # 2000 to 2100


@given(times, zones)
def test_the_day_is_that_of_a_clock_on_the_wall(at_ms: int, zone: tzinfo) -> None:
    moment = datetime.fromtimestamp(at_ms // 1000, zone)
    months = Months(zone)
    months.day(at_ms - at_ms % 900_000)  # remembered for the quarter hour
    assert months.day(at_ms) == moment.date().isoformat()
    assert months.of(at_ms) == moment.date().isoformat()[:7]


@given(times, zones)
def test_a_time_lies_between_the_begin_and_the_end_of_its_month(at_ms: int, zone: tzinfo) -> None:
    months = Months(zone)
    month = months.of(at_ms)
    begin, end = months.begin_ms(month), months.end_ms(month)
    assert begin <= at_ms < end
    assert months.of(begin) == months.of(end - 1) == month
    assert months.of(begin - 1) == next_month(month, -1)
    assert months.of(end) == next_month(month)
    assert 27 * 86_400_000 < end - begin < 32 * 86_400_000


@pytest.mark.parametrize("at_ms", [0, 1_000, 86_400_000, 253_402_214_399_999, 253_402_128_000_000])
@given(zone=zones)
def test_every_month_that_can_be_counted_has_a_begin_and_an_end(zone: tzinfo, at_ms: int) -> None:
    """From 1970-01-01 to 9999-12-30, which a broken clock may name, in every zone."""
    months = Months(zone)
    day = months.day(at_ms)
    month = day[:7]
    assert is_month(month)
    assert months.begin_ms(month) <= at_ms < months.end_ms(month)
    begin, end = months.day_range_ms(day)
    assert begin <= at_ms < end
    assert state_of(month, (), months, at_ms) is MonthState.OPEN
    for each in (months.begin_ms(month), months.end_ms(month), begin, end):
        assert utc_text(each).endswith("Z")


@pytest.mark.parametrize(
    ("year", "days"), [(2024, 29), (2026, 28), (2000, 29), (2100, 28), (2028, 29)]
)
def test_february_has_the_days_of_its_year(year: int, days: int) -> None:
    months = Months(UTC)
    length = months.end_ms(f"{year}-02") - months.begin_ms(f"{year}-02")
    assert length == days * 86_400_000
    assert months.day(months.end_ms(f"{year}-02") - 1) == f"{year}-02-{days}"


@pytest.mark.parametrize(
    ("zone", "month", "hours"),
    [
        ("Europe/Berlin", "2026-03", 31 * 24 - 1),  # the clock goes forward
        ("Europe/Berlin", "2026-10", 31 * 24 + 1),  # and back
        ("Pacific/Apia", "2011-12", 30 * 24),  # without the 30th
        ("UTC", "2026-10", 31 * 24),
    ],
)
def test_a_change_of_the_clock_changes_the_length_of_a_month(
    zone: str, month: str, hours: int
) -> None:
    months = Months(ZoneInfo(zone))
    assert months.end_ms(month) - months.begin_ms(month) == hours * 3_600_000


class SkipsMidnight(tzinfo):
    """UTC until 30 April 2030, 23:30, when clocks go on to 00:30 of May."""

    at = datetime(2030, 4, 30, 23, 30)

    def utcoffset(self, moment: datetime | None) -> timedelta:
        assert moment is not None
        local = moment.replace(tzinfo=None)
        is_skipped = self.at <= local < self.at + timedelta(hours=1)
        is_after = local >= self.at + timedelta(hours=1) or (is_skipped and moment.fold)
        return timedelta(hours=1 if is_after else 0)

    def fromutc(self, moment: datetime) -> datetime:
        is_after = moment.replace(tzinfo=None) >= self.at
        return moment + timedelta(hours=1 if is_after else 0)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, moment: datetime | None) -> str:
        return "test"


def test_a_month_whose_midnight_is_skipped_begins_when_the_clock_goes_on() -> None:
    months = Months(SkipsMidnight())
    assert months.begin_ms("2030-05") == ms("2030-04-30T23:30:00+00:00")
    assert months.of(months.begin_ms("2030-05") - 1) == "2030-04"


@pytest.mark.parametrize(
    ("zone", "day", "begin", "hours"),
    [
        ("UTC", "2026-12-31", "2026-12-31T00:00:00+00:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00+00:00", 25),
        ("America/Havana", "2026-03-08", "2026-03-08T05:00:00+00:00", 23),  # from midnight on
    ],
)
def test_a_day_lasts_from_its_midnight_to_the_next(
    zone: str, day: str, begin: str, hours: int
) -> None:
    first, after = Months(ZoneInfo(zone)).day_range_ms(day)
    assert first == ms(begin)
    assert after - first == hours * 3_600_000


@pytest.mark.parametrize(
    ("month", "steps", "found"),
    [
        ("2026-10", 1, "2026-11"),
        ("2026-12", 1, "2027-01"),
        ("2026-01", -1, "2025-12"),
        ("2026-03", -14, "2025-01"),
        ("2026-03", 0, "2026-03"),
    ],
)
def test_months_are_counted_across_years(month: str, steps: int, found: str) -> None:
    assert next_month(month, steps) == found


@pytest.mark.parametrize(
    ("zone", "at", "month"),
    [
        ("UTC", "2026-10-31T23:59:59.999+00:00", "2026-10"),
        ("UTC", "2026-11-01T00:00:00+00:00", "2026-11"),
        ("Europe/Berlin", "2026-10-31T22:59:59.999+00:00", "2026-10"),
        ("Europe/Berlin", "2026-10-31T23:00:00+00:00", "2026-11"),
        ("Europe/Berlin", "2026-06-30T22:00:00+00:00", "2026-07"),  # summer time
        ("Asia/Kathmandu", "2026-10-31T18:14:59+00:00", "2026-10"),  # 5:45 ahead
        ("Asia/Kathmandu", "2026-10-31T18:15:00+00:00", "2026-11"),
        ("America/Los_Angeles", "2027-01-01T07:59:59+00:00", "2026-12"),
    ],
)
def test_a_month_begins_at_midnight_of_the_zone(zone: str, at: str, month: str) -> None:
    assert Months(ZoneInfo(zone)).of(ms(at)) == month


@given(st.integers(0, 4_102_444_800_000), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]))
def test_the_month_remembered_is_the_month_computed(at_ms: int, zone: str) -> None:
    months = Months(ZoneInfo(zone))
    moment = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    months.of(at_ms - at_ms % 900_000)
    assert months.of(at_ms) == f"{moment.year:04d}-{moment.month:02d}"


@pytest.mark.parametrize("at_ms", [-1, 10**18])
def test_a_time_out_of_range_is_no_month(at_ms: int) -> None:
    with pytest.raises(ValueError, match="not a time"):
        Months(UTC).of(at_ms)


@pytest.mark.parametrize(
    ("text", "well"),
    [("2026-11", True), ("2026-13", False), ("2026-00", False), ("26-11", False), ("", False)],
)
def test_a_month_is_written_with_year_and_month(text: str, well: bool) -> None:
    assert is_month(text) is well
