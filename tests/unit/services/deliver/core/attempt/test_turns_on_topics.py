"""Turns and retries of many messages on the retry topics, read in virtual time."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from services.deliver.core.attempt.retry import (
    Retry,
    RetryTimes,
    next_attempt,
    next_turn,
    next_turn_before,
)
from shared.topics.retry_topics import DELAYS_S, JITTER_SHARE, RETRY_TOPICS_S, TURNS_S

TIMES = RetryTimes()
LONGEST_TURN_S = 43_200
MINUTE_MS, HOUR_S = 60_000, 3_600


def read_at_ms(written: list[Retry]) -> list[int]:
    """When each record is read. A partition is paused until its first record is due, so a record
    waits for all that were written to its partition before it."""
    free_at_ms: dict[str, int] = defaultdict(int)
    read = []
    for each in written:
        free_at_ms[each.step] = max(free_at_ms[each.step], each.due_at_ms)
        read.append(free_at_ms[each.step])
    return read


def mixed(seed: int) -> list[tuple[float, Retry, int]]:
    """Turns of all lengths and retries, in a random order; each with its delay, and when it was
    written."""
    chance = random.Random(seed)
    now_ms, made = 0, []
    for number in range(5_000):
        now_ms += chance.randrange(2_000)
        if chance.random() < 0.3:
            retry = next_attempt(f"{number}", chance.randrange(1, 7), now_ms, TIMES)
            made.append((float(DELAYS_S[retry.step]), retry, now_ms))
        else:
            waits_s = 5 * (LONGEST_TURN_S / 5) ** chance.random()
            made.append((waits_s, next_turn(waits_s, now_ms, TIMES), now_ms))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_what_waits_for_a_turn_is_late_by_about_as_long_at_most_and_retries_as_before(
    seed: int,
) -> None:
    made = mixed(seed)
    read = read_at_ms([retry for _, retry, _ in made])
    for (waits_s, retry, now_ms), at_ms in zip(made, read, strict=True):
        late_s = (at_ms - retry.due_at_ms) / 1000
        if waits_s in DELAYS_S.values():
            assert at_ms <= now_ms + waits_s * 1000 * (1 + JITTER_SHARE)
        elif 120 <= waits_s < HOUR_S:
            assert late_s <= waits_s
        else:
            assert late_s <= 2 * waits_s


@pytest.mark.parametrize("seed", range(5))
def test_a_message_that_expires_is_read_in_time_whatever_lies_before_it(seed: int) -> None:
    chance = random.Random(seed)
    written: list[Retry] = []
    expiries: dict[int, int] = {}
    for _, retry, now_ms in mixed(seed):
        left_s = 20 * (2 * LONGEST_TURN_S / 20) ** chance.random()
        waits_s = 5 * (LONGEST_TURN_S / 5) ** chance.random()
        expires_at_ms = now_ms + int(left_s * 1000)
        expiries[len(written) + 1] = expires_at_ms
        written += [retry, next_turn_before(expires_at_ms, waits_s, now_ms, TIMES)]
    read = read_at_ms(written)
    assert all(read[number] < at_ms for number, at_ms in expiries.items())


def test_a_message_that_expires_in_four_minutes_does_not_wait_behind_retries() -> None:
    """A retry of anybody on `5m`, then one with a turn in twenty minutes: it must come in time."""
    behind = next_attempt("a", 2, 0, TIMES)
    soon = next_turn_before(4 * MINUTE_MS, 1_200.0, 0, TIMES)
    assert read_at_ms([behind, soon])[1] == 2 * MINUTE_MS


def test_a_message_without_an_expiry_has_its_turn() -> None:
    assert next_turn_before(0, 500.0, 7, TIMES) == next_turn(500.0, 7, TIMES)


def test_the_topics_of_turns_follow_one_another_without_a_gap() -> None:
    assert list(TURNS_S.values()) == sorted(set(TURNS_S.values()))
    assert len(RETRY_TOPICS_S) == len(DELAYS_S) + len(TURNS_S)
    steps = [next_turn(float(wait_s), 0, TIMES).step for wait_s in range(5, LONGEST_TURN_S + 1)]
    turns = [step for step in steps if step in TURNS_S]
    assert set(turns) == set(TURNS_S)
    assert turns == sorted(turns, key=list(TURNS_S).index)
