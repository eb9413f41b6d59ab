"""When good mail beside a bad site counts as undisturbed, and the messages that are published."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench import bad_sites
from bench.__main__ import main
from bench.bad_sites import (
    LARGE_BYTES,
    MOST_MB,
    MOST_RATIO,
    SMALL_BYTES,
    Phase,
    Result,
    make_message,
)

ALONE = Phase(100, 100, 10.0, 50.0, 60.0)


@pytest.mark.parametrize(
    ("delivered", "ratio", "peak_mb", "holds"),
    [
        (100, MOST_RATIO, MOST_MB, True),
        (99, 1.0, 100.0, False),
        (100, MOST_RATIO + 0.01, 100.0, False),
        (100, 1.0, MOST_MB + 1, False),
    ],
)
def test_all_requirements_have_to_hold(
    delivered: int, ratio: float, peak_mb: float, holds: bool
) -> None:
    beside = Phase(100, delivered, 10.0, 50.0, 60.0)
    assert Result("tarpit", ALONE, beside, ratio, peak_mb).holds is holds


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES, LARGE_BYTES])
def test_a_message_has_its_size_and_an_id_of_its_own(size_bytes: int) -> None:
    one, other = (make_message("r@good.example", size_bytes) for _ in range(2))
    assert one.envelope.mail_id != other.envelope.mail_id
    assert one.envelope.lane == "default"
    assert abs(len(one.content) - size_bytes) < 300


@pytest.mark.parametrize(("ratio", "code"), [(MOST_RATIO, 0), (MOST_RATIO + 0.01, 1)])
def test_the_command_measures_the_site_that_is_named(
    ratio: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = Phase(100, 100, 10.0, 50.0, 60.0)
    monkeypatch.setattr(
        bad_sites, "measure", lambda site, *_: Result(site, ALONE, beside, ratio, MOST_MB)
    )
    answer = CliRunner().invoke(main, ["bad-sites", "tarpit", "--json"])
    assert (answer.exit_code, json.loads(answer.stdout)["site"]) == (code, "tarpit")
    assert f"{ratio}, required at most" in CliRunner().invoke(main, ["bad-sites", "slow"]).output
