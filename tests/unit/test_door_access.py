"""Who may come in at the front door: addresses, failed logins, rates."""

import pytest

from services.ingest.core.access import (
    FailedLogins,
    Rate,
    counted_as,
    may_come_from,
    plain_address,
)


@pytest.mark.parametrize(
    ("ips", "address", "is_let_in"),
    [
        ((), "192.0.2.7", True),
        (("192.0.2.7",), "192.0.2.7", True),
        (("192.0.2.7",), "192.0.2.8", False),
        (("192.0.2.0/24",), "192.0.2.255", True),
        (("192.0.2.0/24",), "192.0.3.0", False),
        (("2001:db8::/32",), "2001:db8:1::1", True),
        (("2001:db8::/32",), "2001:db9::1", False),
        (("192.0.2.0/24", "2001:db8::/32"), "2001:db8::9", True),
        (("0.0.0.0/0",), "2001:db8::9", False),
        (("192.0.2.7",), "", False),
        (("192.0.2.7",), "unix", False),
    ],
)
def test_a_client_comes_only_from_its_addresses(
    ips: tuple[str, ...], address: str, is_let_in: bool
) -> None:
    assert may_come_from(ips, address) is is_let_in


@pytest.mark.parametrize(
    ("found", "plain"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("/run/socket", "/run/socket"),
    ],
)
def test_an_address_is_compared_in_its_plain_form(found: str, plain: str) -> None:
    assert plain_address(found) == plain


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("?", "?"),
    ],
)
def test_an_ipv6_host_is_counted_as_its_network(address: str, key: str) -> None:
    assert counted_as(address) == key


def test_an_address_is_locked_after_too_many_failures_and_free_again_later() -> None:
    failures = FailedLogins(most=3, window_s=60)
    for at in (0.0, 1.0):
        failures.note("192.0.2.7", at)
    assert not failures.is_locked("192.0.2.7", 2.0)
    failures.note("192.0.2.7", 2.0)
    assert failures.is_locked("192.0.2.7", 3.0)
    assert not failures.is_locked("192.0.2.8", 3.0)
    assert not failures.is_locked("192.0.2.7", 60.5)


def test_failures_of_one_ipv6_network_are_counted_together() -> None:
    failures = FailedLogins(most=2, window_s=60)
    failures.note("2001:db8::1", 0.0)
    failures.note("2001:db8::2", 0.0)
    assert failures.is_locked("2001:db8::3", 1.0)


def test_a_rate_lets_a_minutes_worth_through_and_then_as_much_as_comes_back() -> None:
    rate = Rate(per_minute=60)
    assert sum(rate.take("acme", 0.0) for _ in range(100)) == 60
    assert not rate.take("acme", 0.5)
    assert sum(rate.take("acme", 10.0) for _ in range(100)) == 10
    assert rate.take("northbank", 10.0)


def test_without_a_rate_nothing_is_held_back() -> None:
    rate = Rate(per_minute=0)
    assert all(rate.take("acme", 0.0) for _ in range(1_000))
