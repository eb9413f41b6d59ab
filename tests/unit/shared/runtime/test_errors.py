"""The texts of errors that a user reads on one line."""

from __future__ import annotations

from shared.runtime.errors import MAX_REASON_CHARS, PartUnavailable


def test_the_reason_of_an_unavailable_part_fits_on_a_few_lines() -> None:
    error = PartUnavailable("Kafka", "127.0.0.1:9092", "MetadataResponse(" + "x" * 20_000)
    assert str(error).startswith("Kafka at 127.0.0.1:9092 is unavailable: MetadataResponse(xxx")
    assert len(str(error)) < MAX_REASON_CHARS + 50


def test_a_short_reason_is_shown_whole() -> None:
    assert str(PartUnavailable("Redis", "a:1", "refused")) == "Redis at a:1 is unavailable: refused"
