"""What `sluice billing messages` says if the number does not match."""

from __future__ import annotations

import pytest

from services.billing.cli.messages import difference


@pytest.mark.parametrize(
    ("unnamed", "said"),
    [
        (0, "1 mail found, 4 counted"),
        (
            3,
            "1 mail found, 4 counted; 3 were received by an earlier version, whose tallies have no"
            " ids",
        ),
    ],
)
def test_a_number_that_does_not_match_is_explained(unnamed: int, said: str) -> None:
    assert difference(1, 4, unnamed) == said
