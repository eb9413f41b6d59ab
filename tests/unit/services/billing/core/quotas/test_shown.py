"""The quotas as people see them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.billing.core.quotas.shown import ShownQuota, shown_quotas
from shared.registry.client import Client, Code, OverQuota
from shared.topics.quotas import QuotaScope, QuotaState

SHOP = Client(
    "shop",
    "news.shop.example",
    "replies@shop.example",
    "news",
    codes={
        "A1": Code("news", "south", monthly_quota=10),
        "A2": Code("news", "east", monthly_quota=20),
        "A3": Code("news", "west"),
    },
    monthly_quota=200,
    over_quota=OverQuota.HOLD,
)
BANK = Client("bank", "news.bank.example", "replies@bank.example", "letters", monthly_quota=3)
FREE = Client("free", "news.free.example", "replies@free.example", "letters")
USED = QuotaState("2026-11", 1_000, 2_000, 200, 199, (80, 90))


def of_shop(state: QuotaState | None, now_ms: int) -> ShownQuota:
    client = replace(SHOP, codes={})
    (found,) = shown_quotas([client], {QuotaScope("shop"): state}.get, now_ms)
    return found


def test_quotas_come_by_client_with_its_own_first_and_none_without_a_limit() -> None:
    found = shown_quotas([SHOP, FREE, BANK], lambda _: None, 0)
    assert [(each.client, each.sub_client, each.quota) for each in found] == [
        ("bank", None, 3),
        ("shop", None, 200),
        ("shop", "east", 20),
        ("shop", "south", 10),
    ]
    assert {each.over_quota for each in found if each.client == "shop"} == {OverQuota.HOLD}


@pytest.mark.parametrize(
    ("state", "now_ms", "month", "used", "percent", "reached"),
    [
        (None, 1_500, "", 0, 0, ()),
        (USED, 999, "", 0, 0, ()),  # its month has not begun
        (USED, 1_000, "2026-11", 199, 99, (80, 90)),
        (USED, 1_999, "2026-11", 199, 99, (80, 90)),
        (USED, 2_000, "", 0, 0, ()),  # its month is over
        (replace(USED, used=0, reached=()), 1_500, "2026-11", 0, 0, ()),
    ],
)
def test_only_what_was_counted_in_the_present_month_is_used(
    state: QuotaState | None,
    now_ms: int,
    month: str,
    used: int,
    percent: int,
    reached: tuple[int, ...],
) -> None:
    found = of_shop(state, now_ms)
    assert (found.month, found.used, found.percent) == (month, used, percent)
    assert found.reached == reached


@pytest.mark.parametrize(
    ("used", "percent", "is_used_up"), [(199, 99, False), (200, 100, True), (500, 250, True)]
)
def test_a_quota_is_used_up_at_its_limit_and_not_before(
    used: int, percent: int, is_used_up: bool
) -> None:
    found = of_shop(replace(USED, used=used), 1_500)
    assert (found.percent, found.is_used_up) == (percent, is_used_up)


def test_the_quota_is_that_of_the_registration_not_the_one_counted_with() -> None:
    found = of_shop(replace(USED, quota=100, used=100), 1_500)
    assert (found.quota, found.percent, found.is_used_up) == (200, 50, False)
