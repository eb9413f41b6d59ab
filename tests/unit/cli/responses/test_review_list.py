"""Only what was reviewed can be taken back; for another window the known ones are named."""

from __future__ import annotations

import click
import pytest
from msgspec.structs import replace

from cli.responses.review_list import require_review
from shared.topics.control import Review, ReviewVerdict, review_key

HOUR_MS = 3_600_000
DONE = Review("google", HOUR_MS, 2 * HOUR_MS, author="anna")
KNOWN = {review_key(each): each for each in (DONE, replace(DONE, status="5.1.1", active=False))}


@pytest.mark.parametrize("asked", [DONE, replace(DONE, status="5.1.1")])
def test_a_review_can_be_taken_back_also_a_second_time(asked: Review) -> None:
    require_review(replace(asked, active=False), KNOWN)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            replace(DONE, until_ms=3 * HOUR_MS),
            "The reviews of google in force: 1970-01-01T01:00:00Z to 1970-01-01T02:00:00Z",
        ),
        (
            replace(DONE, provider="googel"),
            "googel has no review in force; `sluice responses reviews` lists all",
        ),
        (
            replace(DONE, verdict=ReviewVerdict.COUNTED),
            "are excluded; `sluice responses rewind --undo` undoes that review",
        ),
    ],
)
def test_what_was_not_reviewed_so_cannot_be_taken_back(asked: Review, said: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        require_review(replace(asked, active=False), KNOWN)
    assert said in caught.value.message
    assert "5.1.1" not in caught.value.message
