"""`billing usage` in a narrow terminal."""

from __future__ import annotations

import pytest

from services.billing.cli import as_blocks
from services.billing.core.answer import Usage
from services.billing.core.usage import COUNTERS, Row

FOUND = Usage(
    "2026-10",
    True,
    "",
    {},
    [
        Row("acme", "autumn-campaign", "berlin", **dict.fromkeys(COUNTERS, 1_234_567)),
        Row("bank", "standard", "", **dict.fromkeys(COUNTERS, 0)),
    ],
)


@pytest.mark.parametrize("width", [40, 80, 100])
def test_each_row_has_all_its_counts_within_the_width(width: int) -> None:
    lines = as_blocks(FOUND, COUNTERS, width)
    assert max(map(len, lines)) <= width
    assert lines[:2] == ["usage of 2026-10", "acme / autumn-campaign / berlin"]
    text = "\n".join(lines)
    assert all(f"{counter} 1234567" in text for counter in COUNTERS)
    assert "bank / standard / -" in lines
