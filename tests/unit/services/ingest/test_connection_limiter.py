"""Access to the front door: addresses, failed logins, rates."""

import pytest

from services.ingest.core.smtp_server.connection_limiter import (
    ConnectionLimiter,
    ConnectionLimits,
    ConnectionSlot,
    LimitExceeded,
)
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


def limiter(connections: int = 10, per_address: int = 10, per_minute: int = 0) -> ConnectionLimiter:
    return ConnectionLimiter(ConnectionLimits(connections, per_address, per_minute))


def erring(address_errors: int, client_errors: int) -> ConnectionLimiter:
    return ConnectionLimiter(ConnectionLimits(10, 10, 0, address_errors, client_errors))


def waiting(before_login: int, per_address: int) -> ConnectionLimiter:
    return ConnectionLimiter(
        ConnectionLimits(
            100, 100, 0, before_login=before_login, per_address_before_login=per_address
        )
    )


def entered(
    among: ConnectionLimiter, address: str, ended: list[str]
) -> tuple[ConnectionSlot, LimitExceeded | None]:
    """A connection whose address is added to `ended` if it loses its slot."""
    slot = among.try_acquire()
    assert slot is not None
    slot.evict = lambda: ended.append(address)
    return slot, slot.try_assign(address, 0.0)


def settled(among: ConnectionLimiter, address: str, now: float = 0.0) -> ConnectionSlot:
    slot = among.try_acquire()
    assert slot is not None
    assert slot.try_assign(address, now) is None
    return slot


def test_a_full_door_has_a_place_again_as_soon_as_one_is_left() -> None:
    door = limiter(connections=2)
    first, second = settled(door, "192.0.2.1"), door.try_acquire()
    assert second is not None
    assert door.try_acquire() is None
    first.release()
    first.release()
    assert door.count == 1
    assert door.try_acquire() is not None


def test_connections_of_one_address_are_counted_apart_and_an_ipv6_network_together() -> None:
    door = limiter(per_address=1)
    settled(door, "192.0.2.1")
    settled(door, "2001:db8::1")
    for address, excess in (
        ("192.0.2.1", LimitExceeded.ADDRESS),
        ("2001:db8::2", LimitExceeded.ADDRESS),
        ("192.0.2.2", None),
    ):
        slot = door.try_acquire()
        assert slot is not None
        assert slot.try_assign(address, 0.0) is excess
        slot.release()


def test_new_connections_of_an_address_are_limited_by_the_minute_though_they_are_short() -> None:
    door = limiter(per_minute=2)
    for _ in range(2):
        settled(door, "192.0.2.1").release()
    slot = door.try_acquire()
    assert slot is not None
    assert slot.try_assign("192.0.2.1", 0.0) is LimitExceeded.MINUTE
    slot.release()
    settled(door, "192.0.2.1", now=31.0)


def test_a_client_has_no_more_connections_than_it_may_from_all_addresses_together() -> None:
    door = limiter()
    first, second, third = (settled(door, f"192.0.2.{n}") for n in range(3))
    assert first.try_log_in("acme", 2)
    assert second.try_log_in("acme", 2)
    assert not third.try_log_in("acme", 2)
    assert third.try_log_in("northbank", 2)
    assert second.is_within(2)
    assert not second.is_within(1)
    second.release()
    assert first.is_within(1)


def test_what_is_left_counts_nowhere_and_cannot_log_in_any_more() -> None:
    door = limiter()
    for n in range(5):
        slot = settled(door, f"192.0.2.{n}")
        assert slot.try_log_in("acme", 5)
        slot.release()
        assert not slot.try_log_in("acme", 5)
    assert door.count == 0
    assert not door.by_address
    assert not door.by_client


def test_a_place_without_an_address_can_be_left() -> None:
    door = limiter()
    slot = door.try_acquire()
    assert slot is not None
    slot.release()
    assert (door.count, dict(door.by_address)) == (0, {})


def test_an_empty_list_names_nobody() -> None:
    assert not is_listed((), "192.0.2.7")
    assert is_listed(("192.0.2.7", "10.0.0.0/8"), "10.255.0.1")


def test_errors_of_an_address_are_counted_over_all_its_connections_and_turn_new_ones_away() -> None:
    door = erring(address_errors=3, client_errors=0)
    first, second = settled(door, "192.0.2.1"), settled(door, "192.0.2.1")
    assert first.count_errors(2, 0.0) is None
    assert second.count_errors(1, 0.0) is None
    assert first.count_errors(3, 0.0) is LimitExceeded.ADDRESS_ERRORS
    late = door.try_acquire()
    assert late is not None
    assert late.try_assign("192.0.2.1", 1.0) is LimitExceeded.ADDRESS_ERRORS
    settled(door, "192.0.2.2")
    settled(door, "192.0.2.1", now=21.0)


def test_errors_of_a_client_are_counted_from_all_its_addresses_once_it_is_logged_in() -> None:
    door = erring(address_errors=0, client_errors=2)
    first, second = settled(door, "192.0.2.1"), settled(door, "192.0.2.2")
    assert first.count_errors(9, 0.0) is None, "nobody is logged in"
    assert first.try_log_in("acme", 9)
    assert second.try_log_in("acme", 9)
    assert first.count_errors(10, 0.0) is None
    assert not first.has_erred_too_often("acme", 0.0)
    assert second.count_errors(1, 0.0) is None
    assert second.count_errors(2, 0.0) is LimitExceeded.CLIENT_ERRORS
    assert first.has_erred_too_often("acme", 0.0)
    assert not first.has_erred_too_often("northbank", 0.0)


@pytest.mark.parametrize(("errors", "limits"), [(0, (1, 1)), (1_000, (0, 0))])
def test_without_errors_or_without_limits_nobody_is_turned_away(
    errors: int, limits: tuple[int, int]
) -> None:
    slot = settled(erring(*limits), "192.0.2.1")
    assert slot.try_log_in("acme", 9)
    assert slot.count_errors(errors, 0.0) is None


def test_one_address_holds_only_so_many_places_before_login() -> None:
    door, ended = waiting(10, 2), list[str]()
    first, _ = entered(door, "192.0.2.1", ended)
    assert entered(door, "192.0.2.1", ended)[1] is None
    refused, excess = entered(door, "192.0.2.1", ended)
    assert excess is LimitExceeded.ADDRESS_BEFORE_LOGIN
    refused.release()
    assert entered(door, "192.0.2.2", ended)[1] is None
    assert first.try_log_in("acme", 5)
    assert entered(door, "192.0.2.1", ended)[1] is None
    assert (door.before_login, ended) == (3, [])


def test_the_address_with_most_places_before_login_gives_its_oldest_to_a_new_one() -> None:
    door, ended = waiting(3, 2), list[str]()
    oldest, _ = entered(door, "192.0.2.1", ended)
    entered(door, "192.0.2.1", ended)
    entered(door, "192.0.2.2", ended)
    assert entered(door, "192.0.2.3", ended)[1] is None
    assert ended == ["192.0.2.1"]
    oldest.release()
    assert (door.before_login, door.count) == (3, 3)


def test_an_address_that_holds_as_many_places_as_any_other_displaces_nobody() -> None:
    door, ended = waiting(2, 2), list[str]()
    entered(door, "192.0.2.1", ended)
    entered(door, "192.0.2.2", ended)
    assert entered(door, "192.0.2.2", ended)[1] is LimitExceeded.BEFORE_LOGIN
    assert ended == []


def test_what_has_logged_in_is_never_displaced() -> None:
    door, ended = waiting(1, 1), list[str]()
    for n in range(5):
        slot, excess = entered(door, f"192.0.2.{n}", ended)
        assert excess is None
        assert slot.try_log_in("acme", 9)
    assert (door.before_login, door.count, ended) == (0, 5, [])
