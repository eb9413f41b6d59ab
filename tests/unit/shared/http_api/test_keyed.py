"""An API that answers only requests with access keys, at a limited rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from litestar import Litestar, Request, get
from litestar.params import QueryParameter
from litestar.testing import TestClient
from msgspec import structs

from shared.access.checking import Grant, Reason
from shared.access.keys import Right
from shared.http_api.keyed import (
    DENIED_PER_MINUTE,
    AccessPolicy,
    KeyedApi,
    RateLimiter,
    require_scope,
    requires,
)
from tests.support.access import FakeKeys

Door = TestClient[Litestar]
Query = Annotated[str, QueryParameter()]
SubQuery = Annotated[str | None, QueryParameter()]


@get("/health")
async def health() -> str:
    return "ok"


@get("/bill", guards=[requires(Right.BILLING_READ)])
async def bill(request: Request[Any, Grant, Any], client: Query = "", sub: SubQuery = None) -> str:
    require_scope(request, client or request.auth.scope.client, sub)
    return request.auth.scope.described()


@get("/fault")
async def fault() -> str:
    raise RuntimeError("secret words")


def door_of(policy: AccessPolicy) -> Door:
    app = KeyedApi([health, bill, fault], policy, openapi_config=None)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def keys() -> FakeKeys:
    return FakeKeys()


@pytest.fixture
def door(keys: FakeKeys) -> Iterator[Door]:
    with door_of(AccessPolicy(keys, keys.clock, per_minute=100)) as client:
        yield client


@pytest.mark.parametrize("path", ["/bill", "/fault", "/nothing", "/bill/", "//health", "/health/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_without_a_key_nothing_but_health_is_served(door: Door, path: str, method: str) -> None:
    found = door.request(method, path)
    assert found.status_code == 401
    assert found.headers["www-authenticate"].startswith("Bearer")
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers["cache-control"] == "no-store"
    assert door.get("/health").text == "ok"


def test_a_key_is_served_within_its_scope(door: Door, keys: FakeKeys) -> None:
    shop, south = keys.make("shop"), keys.make("shop", "south")
    assert door.get("/bill", headers=keys.make()).text == "everything"
    assert door.get("/bill", headers=shop).text == "shop"
    assert door.get("/bill?client=shop&sub=x", headers=shop).status_code == 200
    assert door.get("/bill?client=shop&sub=south", headers=south).text == "shop/south"
    for headers, query in [
        (shop, "client=bank"),
        (south, "client=bank"),
        (south, "client=shop&sub=north"),
        (south, "client=shop&sub="),
    ]:
        found = door.get(f"/bill?{query}", headers=headers)
        assert found.status_code == 403
        assert "gives access to shop" in found.json()["detail"]
    assert {denial.reason for denial, _ in keys.denied} == {Reason.SCOPE}


def test_a_key_without_the_right_is_denied(door: Door, keys: FakeKeys) -> None:
    found = door.get("/bill", headers=keys.make(rights=("suppressions:write",)))
    assert (found.status_code, found.json()["status"]) == (403, 403)
    assert "billing:read" in found.json()["detail"]
    assert [denial.reason for denial, _ in keys.denied] == [Reason.RIGHT]


def test_the_methods_of_an_address_are_named_whatever_its_query(door: Door, keys: FakeKeys) -> None:
    refused = door.post("/bill", headers=keys.make())
    asked = door.options("/bill?client=shop&nothing=1", headers=keys.make())
    assert (refused.status_code, asked.status_code) == (405, 204)
    for found in (refused, asked):
        assert found.headers["allow"] == "GET, HEAD, OPTIONS"


def test_two_keys_in_one_request_are_none(door: Door, keys: FakeKeys) -> None:
    both = [("Authorization", keys.make()["Authorization"])] * 2
    assert door.get("/bill", headers=both).status_code == 401


def test_a_revoked_key_is_denied_at_once(door: Door, keys: FakeKeys) -> None:
    headers = keys.make()
    assert door.get("/bill", headers=headers).status_code == 200
    ((name, record),) = keys.records.items()
    keys.records[name] = structs.replace(record, revoked_at_ms=1)
    assert door.get("/bill", headers=headers).status_code == 401


def test_while_keys_cannot_be_checked_nobody_is_let_in(door: Door, keys: FakeKeys) -> None:
    headers = keys.make()
    keys.unavailable = "mail.access cannot be read"
    found = door.get("/bill", headers=headers)
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert door.get("/bill").status_code == 401
    assert door.get("/health").status_code == 200


def test_a_key_has_a_rate_of_its_own(keys: FakeKeys) -> None:
    first, second = keys.make(), keys.make()
    with door_of(AccessPolicy(keys, keys.clock, per_minute=2)) as door:
        codes = [door.get("/bill", headers=first).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert door.get("/bill", headers=first).headers["retry-after"] == "30"
        assert door.get("/bill", headers=second).status_code == 200
        keys.clock.go_on(30)
        assert door.get("/bill", headers=first).status_code == 200


def test_whoever_tries_keys_is_not_even_judged_after_a_while(door: Door, keys: FakeKeys) -> None:
    wrong = {"Authorization": f"Bearer sluice_{'a' * 12}_{'b' * 43}"}
    codes = [door.get("/bill", headers=wrong).status_code for _ in range(DENIED_PER_MINUTE + 1)]
    assert codes == [401] * DENIED_PER_MINUTE + [429]
    assert len(keys.denied) == DENIED_PER_MINUTE
    keys.clock.go_on(60)
    assert door.get("/bill", headers=keys.make()).status_code == 200


def test_an_installation_may_serve_without_keys_and_still_honours_them(keys: FakeKeys) -> None:
    with door_of(AccessPolicy(keys, keys.clock, is_open=True)) as door:
        assert door.get("/bill").text == "everything"
        assert door.get("/bill", headers=keys.make("shop")).text == "shop"
        wrong = {"Authorization": f"Bearer sluice_{'a' * 12}_{'b' * 43}"}
        assert door.get("/bill", headers=wrong).status_code == 401


def test_a_fault_is_a_problem_that_tells_nothing(door: Door, keys: FakeKeys) -> None:
    found = door.get("/fault", headers=keys.make())
    assert (found.status_code, found.json()["detail"]) == (500, "RuntimeError")


def test_a_bucket_holds_a_minute_and_fills_evenly() -> None:
    limiter = RateLimiter(60)
    assert [limiter.try_acquire("a", 100.0) for _ in range(61)] == [0] * 60 + [1]
    assert limiter.try_acquire("b", 100.0) == 0
    assert [limiter.try_acquire("a", 102.0) for _ in range(3)] == [0, 0, 1]
    assert [limiter.try_acquire("a", 9_999.0) for _ in range(61)] == [0] * 60 + [1]


@pytest.mark.parametrize(("per_minute", "wait_s"), [(1, 60), (2, 30), (600, 1)])
def test_the_wait_is_told_in_whole_seconds(per_minute: int, wait_s: int) -> None:
    limiter = RateLimiter(per_minute)
    for _ in range(per_minute):
        assert limiter.try_acquire("a", 5.0) == 0
    assert limiter.wait_for("a", 5.0) == wait_s
    assert limiter.try_acquire("a", 5.0) == wait_s
    assert limiter.try_acquire("a", 5.0 + wait_s) == 0


def test_looking_takes_no_token() -> None:
    limiter = RateLimiter(1)
    assert [limiter.wait_for("a", 5.0) for _ in range(3)] == [0, 0, 0]


def test_zero_is_no_limit() -> None:
    limiter = RateLimiter(0)
    assert {limiter.try_acquire("a", 5.0) for _ in range(10_000)} == {0}


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    limiter = RateLimiter(1)
    assert [limiter.try_acquire("a", at) for at in (50.0, 40.0)] == [0, 60]


def test_the_number_of_buckets_is_bounded_and_the_least_used_one_goes() -> None:
    limiter = RateLimiter(1, most=2)
    for name in ("a", "b", "a", "c"):
        limiter.try_acquire(name, 5.0)
    assert limiter.wait_for("a", 5.0) == 60
    assert limiter.wait_for("b", 5.0) == 0
