"""The figures of the chaos runs: summed by kind, and written to a file after each run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.chaos.results import Result, Results, summarise, table

RUNS = [
    Result("pause", "pause-dynamic-2", 2, False, 61.25, 100, 100, 3, 200, 2, 4.5),
    Result("kill", "kill-static-2", 2, True, 50.0, 90, 90),
    Result(
        "pause", "pause-static-3", 3, True, 60.0, 100, 104, 0, 0, -2, 14.0, fault="DOUBLED_FINAL"
    ),
]


def test_runs_are_summed_up_by_kind_and_bill_differences_do_not_cancel_out() -> None:
    pause, kill = summarise(RUNS)
    assert (pause.kind, pause.seeds, pause.failed) == ("pause", 2, 1)
    assert (pause.messages, pause.final_events, pause.second_copies) == (200, 204, 3)
    assert (pause.bill_difference, pause.silence_s, pause.seconds) == (4, 14.0, 121.2)
    assert (kill.kind, kill.seeds, kill.failed) == ("kill", 1, 0)


def test_the_table_has_a_row_for_each_kind_under_a_head() -> None:
    head, *rows = table(summarise(RUNS))
    assert head.split()[:4] == ["kind", "seeds", "failed", "messages"]
    assert [row.split()[0] for row in rows] == ["pause", "kill"]
    assert len({len(row) for row in (head, *rows)}) == 1


def test_the_file_holds_every_run_that_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "new" / "chaos.json"
    results = Results(file)
    for number, run in enumerate(RUNS, 1):
        results.add(run)
        found = json.loads(file.read_bytes())
        assert [each["name"] for each in found["runs"]] == [each.name for each in RUNS[:number]]
    assert [each["kind"] for each in found["summary"]] == ["pause", "kill"]
    assert list(file.parent.iterdir()) == [file]
