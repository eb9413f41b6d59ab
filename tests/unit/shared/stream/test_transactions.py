"""The offsets that the broker returns for written records."""

from __future__ import annotations

import pytest
from kafka.errors import KafkaError

from shared.stream.transactions import require_offsets


@pytest.mark.parametrize("offsets", [[], [0], [7, 8, 12]])
def test_offsets_are_taken_as_they_are(offsets: list[int]) -> None:
    assert require_offsets(offsets) == offsets


@pytest.mark.parametrize("offsets", [[-1], [7, -1, 9], [7, 7], [8, 7]])
def test_what_cannot_be_offsets_is_refused(offsets: list[int]) -> None:
    # A broker answers -1 for a record that it took before.
    with pytest.raises(KafkaError, match="no offsets"):
        require_offsets(offsets)
