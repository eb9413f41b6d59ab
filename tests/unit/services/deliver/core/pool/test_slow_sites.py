"""Which sites are slow, and how much of the room they may have."""

from __future__ import annotations

import pytest

from services.deliver.core.pool.slow_sites import (
    HAS_MAIL_S,
    SLOW_ALONE_S,
    SLOW_S,
    WATCH_S,
    Room,
    SiteLoad,
    SlowSites,
)

ROOM = Room(2_000, 64_000)
MANY = [str(number) for number in range(4_000)]


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ({}, {}),
        ({"quick": SiteLoad(1_900, 0, 0.5)}, {}),
        ({"slow": SiteLoad(1_900, 0, 90.0)}, {"slow": 1_000}),
        ({"slow": SiteLoad(500, 0, 90.0), "quick": SiteLoad(9, 0, 0)}, {"slow": 1_000}),
        ({"a": SiteLoad(5, 0, 90.0), "b": SiteLoad(5, 0, 90.0)}, {"a": 500, "b": 500}),
        ({"big": SiteLoad(200, 64_000, 90.0)}, {"big": 100}),
        (dict.fromkeys("abcdefgh", SiteLoad(900, 0, 90.0)), dict.fromkeys("abcdefgh", 125)),
        (dict.fromkeys(MANY, SiteLoad(2, 0, 90.0)), dict.fromkeys(MANY, 1)),
    ],
    ids=["none", "no slow one", "one", "one of two", "two", "large messages", "eight", "very many"],
)
def test_slow_sites_share_half_of_the_room(
    loads: dict[str, SiteLoad], expected: dict[str, int]
) -> None:
    sites = SlowSites(ROOM)
    assert sites.shares(loads, 0.0) == {}, "the first transactions say little"
    assert sites.shares(loads, WATCH_S) == expected


@pytest.mark.parametrize(
    ("wait_s", "others", "is_slow"),
    [
        (SLOW_S, {"quick": SiteLoad(1, 9, 0.1, 0.0)}, True),
        (SLOW_S, {"quick": SiteLoad(0, 0, 0.0, 50.0)}, True),
        (SLOW_S, {"quick": SiteLoad(0, 0, 0.0, 50.0 - HAS_MAIL_S)}, False),
        (SLOW_S, {}, False),
        (SLOW_S, {"too": SiteLoad(900, 9, SLOW_S, 50.0)}, False),
        (SLOW_ALONE_S, {}, True),
        (SLOW_S - 1, {"quick": SiteLoad(1, 9, 0.1, 50.0)}, False),
    ],
    ids=["other mail", "lately", "long ago", "alone", "all slow", "much too slow", "not slow"],
)
def test_a_site_with_much_mail_keeps_it_unless_others_need_the_room(
    wait_s: float, others: dict[str, SiteLoad], *, is_slow: bool
) -> None:
    sites, loads = SlowSites(ROOM), {"busy": SiteLoad(1_900, 0, wait_s, 50.0)} | others
    sites.shares(loads, 50.0 - WATCH_S)
    assert ("busy" in sites.shares(loads, 50.0)) is is_slow


def test_a_long_wait_counts_anew_after_a_short_one() -> None:
    sites, loads = SlowSites(ROOM), {"slow": SiteLoad(1_900, 0, SLOW_ALONE_S)}
    sites.shares(loads, 0.0)
    sites.shares({"slow": SiteLoad(1_900, 0, 1.0)}, 1.0)
    assert sites.shares(loads, WATCH_S) == {}
    assert sites.shares(loads, 2 * WATCH_S) == {"slow": 1_000}
