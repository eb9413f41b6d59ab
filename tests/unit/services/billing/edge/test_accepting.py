"""The form of an answer, by the header Accept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.edge.http.exports import CSV, FORMATS, JSON, PARQUET, XLSX, Format
from services.billing.edge.http.headers import wanted_format


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("text/html, */*", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV; charset=utf-8", CSV),
        (XLSX.media_type, XLSX),
        ("text/csv, application/json", CSV),
        ("application/json, text/csv", JSON),
        ("text/csv;q=0.1, application/json", JSON),
        ("application/json;q=0, text/csv", CSV),
        ("*/*;q=0.1, text/csv", CSV),
        ("*/*, text/csv", CSV),
        ("*/*, text/csv;q=0.5", JSON),
        ("text/*;q=0.9, text/csv;q=0.2, application/vnd.apache.parquet;q=0.5", PARQUET),
        ("application/json;q=0, */*", CSV),
        ("text/csv;q=0", None),
        ("*/*;q=0", None),
        ("image/png", None),
        ("text/csv;q=much", CSV),
        ("text/csv;q=nan", CSV),
        (",;,", JSON),
    ],
)
def test_the_highest_weight_wins_and_zero_is_not_accepted(accept: str, form: Format | None) -> None:
    assert wanted_format(accept) is form


@given(st.text(max_size=200))
def test_no_header_is_an_error(accept: str) -> None:
    assert wanted_format(accept) in (*FORMATS, None)


@given(st.permutations(range(4)), st.integers(1, 250))
def test_of_named_forms_it_is_the_one_with_the_highest_weight(order: list[int], step: int) -> None:
    weights = {FORMATS[place]: step * (number + 1) for number, place in enumerate(order)}
    accept = ", ".join(f"{form.media_type};q={w / 1000:.3f}" for form, w in weights.items())
    assert wanted_format(accept) is FORMATS[order[-1]]
