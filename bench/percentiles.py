"""Percentiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies; they are in ascending order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
