"""The delay of the sink's replies, by the recipient's local part."""

from __future__ import annotations

import pytest

from local.sink.behaviour import MAX_SLOW_MS, TARPIT_S, delay_s, dot_delay_s


@pytest.mark.parametrize(
    ("address", "each_s", "dot_s"),
    [
        ("ok-1@d.example", 0.0, 0.0),
        ("tarpit-1@d.example", TARPIT_S, 0.0),
        ("slow-20-1@d.example", 0.0, 0.02),
        ("slow-30000-1@d.example", 0.0, 30.0),
        ("slow-999999-1@d.example", 0.0, MAX_SLOW_MS / 1000),
        ("slow-1@d.example", 0.0, 0.0),
        ("very-slow-20-1@d.example", 0.0, 0.0),
    ],
)
def test_delays_of_a_recipient(address: str, each_s: float, dot_s: float) -> None:
    assert delay_s(address) == each_s
    assert dot_delay_s(address) == dot_s
