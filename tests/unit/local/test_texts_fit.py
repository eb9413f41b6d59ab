"""The fixed texts of demo, up and status fit a terminal of 80 columns."""

from __future__ import annotations

import pytest

from cli.stack.state import Endpoints, described
from local.demo.__main__ import next_steps
from local.demo.display import fates
from local.demo.reconciliation import Result, SinkCount
from local.sink import behaviour
from local.up import ending_lines, sink_lines

ADDRESS = "255.255.255.255:65535"
ENDPOINTS = Endpoints(
    kafka=ADDRESS,
    redis=f"redis://{ADDRESS}/0",
    smtp=ADDRESS,
    billing=f"http://{ADDRESS}",
    metrics={"deliver-10": f"http://{ADDRESS}/metrics"},
    sink=ADDRESS,
)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(next_steps(".sluice/run/demo-4194304", ""), id="demo"),
        pytest.param(
            next_steps(".sluice/run/demo-4194304", f"http://{ADDRESS}/v1/usage?month=YYYY-MM"),
            id="demo --stay",
        ),
        pytest.param(sink_lines(), id="the sink's recipients"),
        pytest.param(ending_lines(" --state a-name-of-30-letters-for-a-line"), id="up"),
        pytest.param(described(ENDPOINTS), id="endpoints"),
    ],
)
def test_fixed_texts_fit_80_columns(lines: list[str]) -> None:
    assert max(map(len, lines)) <= 80


def test_up_names_every_recipient_of_the_sink() -> None:
    assert len(sink_lines()) == 1 + len(behaviour.ADDRESSES)


@pytest.mark.parametrize(
    ("duplicates", "words"), [(0, "0 duplicates"), (1, "1 duplicate"), (2, "2 duplicates")]
)
def test_the_demo_counts_duplicates_in_words(duplicates: int, words: str) -> None:
    sink = SinkCount(accepted=5, duplicates=duplicates)
    ended = Result(5, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, (), sink, agree=True, seconds=1.0)
    assert f"accepted 5, including {words}." in fates(ended)
