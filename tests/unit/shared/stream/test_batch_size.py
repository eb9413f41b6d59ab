"""How many records a relay reads, based on the duration of its batches."""

from __future__ import annotations

import pytest

from shared.stream.relay import TARGET_S, BatchSize


@pytest.mark.parametrize(
    ("records", "seconds", "expected"),
    [
        (2_000, 0.5, 2_000),
        (2_000, TARGET_S, 2_000),
        (2_000, 4 * TARGET_S, 500),
        (2_000, 118.0, 84),
        (3, 1_000.0, 1),
        (1, 1_000.0, 1),
    ],
)
def test_a_batch_that_took_too_long_is_followed_by_one_that_fits(
    records: int, seconds: float, expected: int
) -> None:
    size = BatchSize(2_000)
    size.took(records, seconds)
    assert size.records == expected


def test_batches_grow_again_once_full_ones_are_quick() -> None:
    size = BatchSize(100)
    size.took(100, 50 * TARGET_S)
    seen = []
    for _ in range(8):
        size.took(size.records, 0.1)
        seen.append(size.records)
    assert seen == [4, 8, 16, 32, 64, 100, 100, 100]


def test_a_quick_batch_that_was_not_full_says_nothing() -> None:
    size = BatchSize(100)
    size.took(100, 50 * TARGET_S)
    size.took(1, 0.1)
    assert size.records == 2
