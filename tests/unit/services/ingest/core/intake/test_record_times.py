"""Times in an intake record: the two forms, and how far ahead they may be."""

from __future__ import annotations

import pytest

from services.ingest.core.intake.attributes import FIRST_MS, unix_ms
from services.ingest.core.intake.kafka_record import Header, read
from tests.support.intake_records import DAY, MESSAGE, NOW

LEAP = 1_798_761_600_000  # 2027-01-01T00:00:00Z
TIMES = [
    ("2026-11-25T06:00:00Z", NOW + DAY),
    ("2026-11-25t07:00:00.250+01:00", NOW + DAY + 250),
    ("2026-11-25 05:00:00.123456789-01:00", NOW + DAY + 123),
    (str(NOW + DAY), NOW + DAY),
    # A leap second (RFC 3339, 5.7), which only the end of a day in UTC has: the next second.
    ("2026-12-31T23:59:60Z", LEAP),
    ("2026-12-31T15:59:60.5-08:00", LEAP + 500),
]


def test_an_expiry_far_ahead_counts_as_35_days_after_the_earliest_time() -> None:
    far: Header = ("sluice-expires", b"2099-01-01T00:00:00Z")
    assert read(MESSAGE, [far], NOW).given.expires_at_ms == NOW + 35 * DAY
    late: Header = ("sluice-not-before", b"%d" % (NOW + DAY))
    assert read(MESSAGE, [far, late], NOW).given.expires_at_ms == NOW + 36 * DAY


@pytest.mark.parametrize(("text", "wanted"), TIMES)
def test_a_time_is_read_in_both_forms(text: str, wanted: int) -> None:
    assert unix_ms(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-25",
        "2026-11-25T06:00Z",
        "2026-11-25T06:00:00",
        "2026-13-25T06:00:00Z",
        "2026-11-25T06:00:00+25:00",
        "0000-01-01T00:00:00Z",
        "20261125T060000Z",
        "2026-12-31T23:58:60Z",
        "2026-12-31T23:59:60+01:00",
        "2026-12-31T23:59:61Z",
        "9999-12-31T23:59:60Z",
        "-1",
        "1.5",
        "٣" * 13,
        str(FIRST_MS - 1),
        "9" * 16,
    ],
)
def test_any_other_form_is_no_time(text: str) -> None:
    assert unix_ms(text) is None
