"""How much of the memory one address and one client may take at the bounce door."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.bounce_door.held_bytes import STEP_BYTES, HeldBytes, Hold, steps_of

MOST = 8 * STEP_BYTES


def holds(held: HeldBytes, address: str, *clients: str) -> Hold | None:
    hold = Hold(held, address)
    return hold if hold.try_begin(clients) else None


def test_one_address_holds_at_most_a_quarter_and_the_others_still_hold_theirs() -> None:
    held = HeldBytes(MOST)
    assert holds(held, "192.0.2.1", "a")
    assert holds(held, "192.0.2.1", "b")
    assert holds(held, "192.0.2.1", "c") is None
    assert holds(held, "192.0.2.2", "c")


def test_one_client_holds_at_most_half_from_whatever_addresses() -> None:
    held = HeldBytes(MOST)
    taken = [holds(held, f"192.0.2.{n}", "a") for n in range(6)]
    assert [hold is not None for hold in taken] == [True] * 4 + [False] * 2
    assert holds(held, "192.0.2.9", "b")


def test_all_together_hold_no_more_than_the_limit() -> None:
    held = HeldBytes(MOST)
    taken = [holds(held, f"192.0.2.{n}", f"client-{n}") for n in range(9)]
    assert [hold is not None for hold in taken] == [True] * 8 + [False]


def test_a_new_message_of_a_connection_replaces_the_last_one() -> None:
    held = HeldBytes(MOST)
    hold = Hold(held, "192.0.2.1")
    for _ in range(20):
        assert hold.try_begin(["a"])
    assert held.total_bytes == STEP_BYTES


@pytest.mark.parametrize(("size", "steps"), [(0, 0), (1, 1), (STEP_BYTES, 1), (STEP_BYTES + 1, 2)])
def test_sizes_are_rounded_up_to_steps(size: int, steps: int) -> None:
    assert steps_of(size) == steps * STEP_BYTES


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["begin", "resize", "store", "release"]),
            st.integers(0, MOST),
            st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
        )
    )
)
def test_the_sums_are_always_those_of_the_connections_and_end_at_nothing(
    steps: list[tuple[int, str, int, list[str]]],
) -> None:
    held = HeldBytes(MOST)
    connections = [Hold(held, f"192.0.2.{n % 2}") for n in range(4)]
    for number, step, size, clients in steps:
        hold = connections[number]
        if step == "begin":
            hold.try_begin(clients)
        elif step == "resize":
            hold.try_resize(size)
        elif step == "store":
            hold.try_store(size, clients)
        else:
            hold.release()
        assert 0 <= held.total_bytes <= MOST
        assert held.total_bytes == held.by_address.total() <= held.by_client.total()
        assert all(0 < each <= MOST // 4 for each in held.by_address.values())
        assert all(0 < each <= MOST // 2 for each in held.by_client.values())
    for hold in connections:
        hold.release()
    assert (held.total_bytes, held.by_address, held.by_client) == (0, {}, {})
