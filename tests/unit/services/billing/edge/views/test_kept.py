"""The views that were used last are kept, as long as their files are there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from services.billing.edge.views.adjustments import MAX_VIEWS, KeptViews


def shelved(*, is_there: bool = True) -> Any:
    return SimpleNamespace(view=SimpleNamespace(is_there=lambda: is_there))


def test_the_view_that_was_not_used_for_the_longest_time_is_forgotten() -> None:
    kept, first = KeptViews(), shelved()
    assert kept.keep("first", first) is first
    for number in range(MAX_VIEWS - 1):
        kept.keep(f"v{number}", shelved())
    kept.keep("first", first)
    kept.keep("one more", shelved())
    assert kept.get("first") is first
    assert kept.get("v0") is None
    assert kept.get("v1") is not None


def test_a_view_whose_file_is_gone_is_none() -> None:
    kept = KeptViews()
    kept.keep("a", shelved(is_there=False))
    assert kept.get("a") is None
