"""Access to the front door: addresses, failed logins, rates."""

import pytest

from services.ingest.core.smtp_server.rates import (
    MAX_REMEMBERED,
    FailedLogins,
    Rate,
    counted_as,
    is_listed,
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
    failures = FailedLogins(most=10, most_of_address=3, window_s=60)
    for at in (0.0, 1.0):
        failures.count("192.0.2.7", f"name {at}", at)
    assert not failures.is_address_locked("192.0.2.7", 2.0)
    failures.count("192.0.2.7", "acme", 2.0)
    assert failures.is_address_locked("192.0.2.7", 3.0)
    assert not failures.is_address_locked("192.0.2.8", 3.0)
    assert not failures.is_address_locked("192.0.2.7", 60.5)


def test_a_name_is_locked_at_its_address_and_other_names_there_are_not() -> None:
    failures = FailedLogins(most=2, most_of_address=10, window_s=60)
    for at in (0.0, 1.0):
        failures.count("192.0.2.7", "acme", at)
    assert failures.is_name_locked("192.0.2.7", "acme", 2.0)
    assert not failures.is_name_locked("192.0.2.7", "northbank", 2.0)
    assert not failures.is_name_locked("192.0.2.8", "acme", 2.0)
    assert not failures.is_name_locked("192.0.2.7", "acme", 60.5)


def test_names_that_are_locked_lock_their_address_when_they_go_on() -> None:
    failures = FailedLogins(most=1, most_of_address=3, window_s=60)
    failures.count("192.0.2.7", "acme", 0.0)
    for at in (1.0, 2.0):
        assert not failures.is_address_locked("192.0.2.7", at)
        failures.count_locked("192.0.2.7", at)
    assert failures.is_address_locked("192.0.2.7", 3.0)


def test_a_name_of_any_length_is_remembered_by_its_beginning_only() -> None:
    failures = FailedLogins(most=1, most_of_address=10, window_s=60)
    failures.count("192.0.2.7", "a" * 9_000 + "1", 0.0)
    assert failures.is_name_locked("192.0.2.7", "a" * 9_000 + "2", 1.0)


def test_failures_of_one_ipv6_network_are_counted_together() -> None:
    failures = FailedLogins(most=2, most_of_address=2, window_s=60)
    failures.count("2001:db8::1", "acme", 0.0)
    failures.count("2001:db8::2", "acme", 0.0)
    assert failures.is_address_locked("2001:db8::3", 1.0)
    assert failures.is_name_locked("2001:db8::3", "acme", 1.0)


def test_a_rate_lets_a_minutes_worth_through_and_then_as_much_as_comes_back() -> None:
    rate = Rate()
    assert sum(rate.try_take("acme", 60, 0.0) for _ in range(100)) == 60
    assert not rate.try_take("acme", 60, 0.5)
    assert sum(rate.try_take("acme", 60, 10.0) for _ in range(100)) == 10
    assert rate.try_take("northbank", 60, 10.0)


def test_without_a_rate_nothing_is_held_back() -> None:
    rate = Rate()
    assert all(rate.try_take("acme", 0, 0.0) for _ in range(1_000))


def test_a_rate_that_is_changed_holds_for_the_next_message() -> None:
    rate = Rate()
    assert all(rate.try_take("acme", 600, 0.0) for _ in range(300))
    assert sum(rate.try_take("acme", 5, 0.0) for _ in range(100)) == 5
    assert rate.try_take("acme", 0, 0.0)
    assert sum(rate.try_take("acme", 7, 0.0) for _ in range(100)) == 7


def test_a_rate_remembers_a_bounded_number_of_keys_and_those_used_last() -> None:
    rate = Rate()
    assert rate.try_take("old", 1, 0.0)
    for n in range(MAX_REMEMBERED - 1):
        rate.try_take(f"key {n}", 1, 0.0)
    assert not rate.try_take("old", 1, 0.0)
    rate.try_take("one more", 1, 0.0)
    assert not rate.try_take("old", 1, 0.0)
    assert rate.try_take("key 0", 1, 0.0), "it was forgotten, so its bucket is full again"


def test_asking_whether_a_rate_is_spent_takes_nothing_from_it() -> None:
    rate = Rate()
    assert not any(rate.is_spent("acme", 2, 0.0) for _ in range(10))
    assert rate.try_take("acme", 2, 0.0)
    assert not rate.is_spent("acme", 2, 0.0)
    assert rate.try_take("acme", 2, 0.0)
    assert rate.is_spent("acme", 2, 0.0)
    assert not rate.is_spent("acme", 0, 0.0)
    assert not rate.is_spent("acme", 2, 30.0)


def test_an_empty_list_names_nobody() -> None:
    assert not is_listed((), "192.0.2.7")
    assert is_listed(("192.0.2.7", "10.0.0.0/8"), "10.255.0.1")
