"""/v1/quotas: what a key sees of the quotas."""

from __future__ import annotations

import pytest

from shared.topics.quotas import QuotaScope, QuotaState
from tests.support.billing.api import MONTH, NOON_MS, Api

BEGINS, ENDS = NOON_MS - 86_400_000, NOON_MS + 86_400_000


def shown(api: Api, *key: str | None, **params: str) -> list[tuple[str, str | None, int]]:
    headers = api.keys.make(*key) if key else None  # type: ignore[arg-type]
    found = api.get("/v1/quotas", headers, **params)
    assert found.status_code == 200, found.text
    return [(each["client"], each["sub_client"], each["used"]) for each in found.json()["quotas"]]


@pytest.fixture(autouse=True)
def used(api: Api) -> None:
    for scope, number in [
        (QuotaScope("shop"), 95),
        (QuotaScope("shop", "south"), 45),
        (QuotaScope("bank", "south"), 7),
    ]:
        api.quotas.states[scope] = QuotaState(MONTH, BEGINS, ENDS, 100, number, (80, 90))


def test_a_key_sees_the_quotas_that_it_reaches(api: Api) -> None:
    shop = [("shop", None, 95), ("shop", "south", 45)]
    assert shown(api) == [("bank", "south", 7), *shop]
    assert shown(api, client="shop") == shop
    assert shown(api, "shop") == shop
    assert shown(api, "shop", "south") == shop[1:]
    assert api.get("/v1/quotas", api.keys.make("shop"), client="bank").status_code == 403


def test_a_quota_is_shown_with_what_is_used_of_it(api: Api) -> None:
    (_, found, _) = api.get("/v1/quotas").json()["quotas"]
    assert found == {
        "client": "shop",
        "sub_client": None,
        "month": MONTH,
        "quota": 100,
        "used": 95,
        "percent": 95,
        "reached": [80, 90],
        "over_quota": "warn",
        "is_used_up": False,
    }


def test_in_a_new_month_nothing_is_used(api: Api) -> None:
    api.clock.go_on(86_400)
    assert {used for _, _, used in shown(api)} == {0}


def test_an_unknown_client_is_an_error(api: Api) -> None:
    found = api.get("/v1/quotas", client="nobody")
    assert (found.status_code, "nobody" in found.json()["detail"]) == (404, True)
