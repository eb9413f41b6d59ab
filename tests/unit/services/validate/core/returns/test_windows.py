"""How much a client gets one by one, and what is held for the digest."""

from __future__ import annotations

import pytest

from services.validate.core.returns.windows import (
    MAX_KINDS,
    MAX_LINE_CHARS,
    MAX_LISTED,
    Policy,
    Window,
    admit,
    begin,
    decode_window,
    encode_window,
    has_ended,
    hold,
    key_of,
)

HOUR = 3_600_000


@pytest.mark.parametrize(("most", "admitted"), [(0, 0), (1, 1), (3, 3), (100, 5)])
def test_a_window_admits_as_many_as_its_limit(most: int, admitted: int) -> None:
    window, count = begin("shop", 2, 1_000), 0
    for _ in range(5):
        found = admit(window, Policy(most, HOUR))
        window, count = (found, count + 1) if found is not None else (hold(window, "k", "l"), count)
    assert count == admitted
    assert window.forwarded == admitted
    assert sum(window.held.values()) == 5 - admitted


@pytest.mark.parametrize(
    ("now_ms", "ended"),
    [(1_000, False), (1_000 + HOUR - 1, False), (1_000 + HOUR, True), (999, True)],
)
def test_a_window_ends_after_its_length_or_when_the_clock_was_set_back(
    now_ms: int, ended: bool
) -> None:
    assert has_ended(begin("shop", 0, 1_000), Policy(1, HOUR), now_ms) is ended


def test_a_window_is_bounded_whatever_comes() -> None:
    window = begin("shop", 0, 1)
    for number in range(500):
        window = hold(window, f"kind{number}", "x" * 5_000)
    assert len(window.held) <= MAX_KINDS + 1
    assert sum(window.held.values()) == 500
    assert len(window.listed) == MAX_LISTED
    assert max(map(len, window.listed)) == MAX_LINE_CHARS


def test_a_window_is_stored_under_its_partition_and_client() -> None:
    window = Window("shop", 3, 7, 2, {"soft": 1, "hard": 2}, ("a line",))
    assert window.key == key_of(3, "shop") == b"returns/3/shop"
    assert decode_window(window.key, encode_window(window)) == window


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"returns/4/shop", encode_window(Window("shop", 3, 7))),
        (b"returns/3/shop", b"{}"),
        (b"returns/3/shop", b"\xff"),
    ],
)
def test_a_record_that_is_no_window_of_its_key_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_window(key, value)
