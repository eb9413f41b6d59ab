"""Where a message waits for its earliest time: close to it, never past it, no hop too long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.topics.retry_topics import DELAYS_S, JITTER_SHARE, MIN_HOP_MS, RetryHop, next_hop

NOW = 1_795_500_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MAX_COPIES = 90


@pytest.mark.parametrize(
    ("ahead_ms", "step", "stay_ms"),
    [
        (1, "1m", 1),
        (MINUTE, "1m", MINUTE),
        (72_000 - 1, "1m", 72_000 - 1),
        (72_000, "1m", MINUTE),
        (6 * MINUTE - 1, "1m", MINUTE),
        (6 * MINUTE, "5m", 5 * MINUTE),
        (18 * MINUTE, "15m", 15 * MINUTE),
        (72 * MINUTE, "1h", HOUR),
        (288 * MINUTE - 1, "1h", HOUR),
        (288 * MINUTE, "4h", 4 * HOUR),
        (864 * MINUTE - 1, "4h", 4 * HOUR),
        (864 * MINUTE, "12h", 12 * HOUR),
        (35 * DAY, "12h", 12 * HOUR),
    ],
)
def test_a_message_stays_for_the_longest_delay_that_cannot_make_it_late(
    ahead_ms: int, step: str, stay_ms: int
) -> None:
    assert next_hop(NOW + ahead_ms, NOW) == RetryHop(step, NOW + stay_ms)


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 35 * DAY), st.lists(st.floats(0, JITTER_SHARE), min_size=MAX_COPIES + 1))
def test_however_late_each_stay_ends_the_message_is_in_time_after_few_copies(
    ahead_ms: int, lateness: list[float]
) -> None:
    now, copies = NOW, 0
    earliest = NOW + ahead_ms
    while now < earliest:
        hop = next_hop(earliest, now)
        delay_ms = DELAYS_S[hop.step] * 1000
        stayed_ms = hop.until_ms - now
        assert stayed_ms <= delay_ms * (1 + JITTER_SHARE)
        assert stayed_ms >= delay_ms or hop.until_ms == earliest
        is_last = hop.until_ms == earliest
        # Earlier records on the topic delay it by at most the jitter of retries.
        now = hop.until_ms + (0 if is_last else int(delay_ms * lateness[copies]))
        copies += 1
        assert is_last or now <= earliest
    assert copies <= MAX_COPIES


def test_thirty_five_days_cost_a_known_number_of_copies() -> None:
    def copies(ahead_ms: int) -> int:
        now, count = NOW, 0
        while now < NOW + ahead_ms:
            now, count = next_hop(NOW + ahead_ms, now).until_ms, count + 1
        return count

    assert copies(35 * DAY) == 84
    assert max(copies(35 * DAY - minutes * MINUTE - 1) for minutes in range(0, 1_440, 7)) <= 90


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.01])
def test_delays_shortened_for_tests_still_end(scale: float) -> None:
    hop = next_hop(NOW + 10_000, NOW, scale)
    assert hop.until_ms >= NOW + MIN_HOP_MS
    assert hop.until_ms <= NOW + 10_000
