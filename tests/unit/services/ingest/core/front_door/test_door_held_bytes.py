"""How much memory the messages of one client may take at the front door."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.front_door.policy import HeldBytes

LARGEST = 300
MOST = 10 * LARGEST


def hold_all(held: HeldBytes, client: str) -> int:
    """Let a client begin as many of the largest messages as it may."""
    count = 0
    while held.has_room(client, LARGEST):
        held.add(client, LARGEST)
        count += 1
    return count


def test_a_client_that_sends_slowly_on_all_its_connections_leaves_half_for_others() -> None:
    held = HeldBytes(MOST)
    assert hold_all(held, "slow") == 5
    assert held.has_room("other", LARGEST)
    assert hold_all(held, "other") == 3


def test_two_clients_that_send_slowly_on_all_their_connections_leave_some_for_others() -> None:
    held = HeldBytes(MOST)
    hold_all(held, "slow")
    hold_all(held, "slow as well")
    assert held.has_room("other", LARGEST)


@given(st.lists(st.sampled_from("abcd"), max_size=3_000))
def test_four_clients_however_slow_leave_room_for_a_fifth(order: list[str]) -> None:
    held = HeldBytes(873 * LARGEST)  # the default settings
    for client in [*order, *"abcd" * 873]:
        if held.has_room(client, LARGEST):
            held.add(client, LARGEST)
    assert held.has_room("fifth", LARGEST)


def test_a_client_may_always_send_one_message_of_the_largest_size() -> None:
    held = HeldBytes(LARGEST)
    assert hold_all(held, "only") == 1


def test_what_is_released_can_be_held_again() -> None:
    held = HeldBytes(MOST)
    hold_all(held, "shop")
    held.add("shop", -LARGEST)
    assert held.has_room("shop", LARGEST)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4 * LARGEST))))
def test_no_clients_together_hold_more_than_the_limit(asked: list[tuple[str, int]]) -> None:
    held, total, own = HeldBytes(MOST), 0, dict.fromkeys("abc", 0)
    for client, size in asked:
        if held.has_room(client, size):
            held.add(client, size)
            total, own[client] = total + size, own[client] + size
    assert total <= MOST
    assert max(own.values()) <= max(MOST // 2, 4 * LARGEST)
