"""Connections of the front door: places, limits per address and client, errors, login."""

import pytest

from services.ingest.core.smtp_server.connection_limiter import (
    ConnectionLimiter,
    ConnectionLimits,
    ConnectionSlot,
    LimitExceeded,
)


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
