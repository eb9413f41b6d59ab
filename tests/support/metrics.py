"""Reads the values that a process shows on /metrics."""

from __future__ import annotations

import urllib.request

from tests.support.patience import PATIENCE_S


def values_of(url: str, name: str, timeout_s: float = PATIENCE_S) -> list[float]:
    """Return the values of a metric, one for each set of labels; empty if it is not shown."""
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        lines = answer.read().decode().splitlines()
    begins = tuple(f"{name}{suffix}{end}" for suffix in ("", "_total") for end in " {")
    return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(begins)]
