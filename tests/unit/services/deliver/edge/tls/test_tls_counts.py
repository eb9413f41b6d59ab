"""Attempts are counted for TLS reports, and nothing waits for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from services.deliver.core.attempt.results import Deferred, Delivered, Outcome
from services.deliver.core.tls.policy import PolicyName
from services.deliver.edge.tls import counting
from services.deliver.edge.tls.counting import TlsCounter, counted_as
from shared.runtime.clock import FakeClock
from shared.store.client import StoreUnavailable
from shared.store.tls_counts import TlsCount


def delivered(policy: str, fault: str = "", tls: str = "TLSv1.3") -> Outcome:
    return Delivered("250 Ok", "2.0.0", "site", "source", tls, fault, policy)


def deferred(policy: str, fault: str) -> Outcome:
    return Deferred(
        reply="",
        enhanced="4.7.5",
        bounce_class="network",
        reason="",
        site="site",
        source="",
        tls="",
        dispatched=False,
        tls_fault=fault,
        tls_policy=policy,
    )


CASES = [
    (delivered("opportunistic"), ("no-policy-found", "success")),
    (delivered("opportunistic", tls=""), ("no-policy-found", "starttls-not-supported")),
    (delivered("opportunistic", "454 no TLS now", ""), ("no-policy-found", "validation-failure")),
    (delivered("required"), ("no-policy-found", "success")),
    (delivered("verified"), ("no-policy-found", "success")),
    (delivered("mta-sts"), ("sts", "success")),
    (delivered("dane"), ("tlsa", "success")),
    (delivered("mta-sts-testing", "certificate-expired: x"), ("sts", "certificate-expired")),
    (deferred("mta-sts", "certificate-host-mismatch: x"), ("sts", "certificate-host-mismatch")),
    (deferred("dane", "dane-required: x"), ("tlsa", "dane-required")),
    (deferred("dane", "odd: x"), ("tlsa", "validation-failure")),
    (deferred("", ""), None),
]


@pytest.mark.parametrize(("outcome", "expected"), CASES)
def test_an_attempt_counts_under_its_policy_and_result(
    outcome: Outcome, expected: tuple[str, str] | None
) -> None:
    assert counted_as(outcome) == expected


def test_every_policy_has_a_case() -> None:
    assert {outcome.tls_policy for outcome, _ in CASES} == {"", *PolicyName}


class Store:
    """Counters in memory; `is_unavailable` refuses them."""

    def __init__(self) -> None:
        self.days: dict[str, dict[TlsCount, int]] = {}
        self.is_unavailable = False

    async def add(self, day: str, counts: Mapping[TlsCount, int]) -> None:
        if self.is_unavailable:
            raise StoreUnavailable("Redis: gone")
        rows = self.days.setdefault(day, {})
        for count, number in counts.items():
            rows[count] = rows.get(count, 0) + number


def test_counts_are_added_by_day_and_kept_while_redis_is_unavailable() -> None:
    store, clock = Store(), FakeClock()
    counter = TlsCounter(store.add, clock)
    counter.attempt("a.example", delivered("dane"))
    counter.attempt("a.example", delivered("dane"))
    counter.policy_fault("b.example", "sts-policy-fetch-error: x")
    store.is_unavailable = True
    asyncio.run(counter.flush())
    assert store.days == {}
    store.is_unavailable = False
    clock.go_on(86_400)
    counter.attempt("a.example", delivered("dane"))
    asyncio.run(counter.flush())
    asyncio.run(counter.flush())
    dane = TlsCount("a.example", "tlsa", "success")
    fetch = TlsCount("b.example", "sts", "sts-policy-fetch-error")
    assert list(store.days.values()) == [{dane: 2, fetch: 1}, {dane: 1}]


def test_more_domains_than_fit_are_dropped_and_known_ones_still_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "MAX_ROWS", 2)
    store = Store()
    counter = TlsCounter(store.add, FakeClock())
    for domain in ("a.example", "b.example", "c.example", "a.example"):
        counter.attempt(domain, delivered("dane"))
    asyncio.run(counter.flush())
    (rows,) = store.days.values()
    assert {count.domain: number for count, number in rows.items()} == {
        "a.example": 2,
        "b.example": 1,
    }
