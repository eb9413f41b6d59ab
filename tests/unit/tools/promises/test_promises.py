"""Promises: what counts as a result, and what the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.stack import paths
from tools import promises
from tools.promises import results, run_log, table
from tools.promises.page import PAGE, page
from tools.promises.results import Measured, ResultError, Results, TestResult, When
from tools.promises.table import Chapter, Figure, Promise, Table, TableError

OLD, NEW = When("2026-11-01", "aaaaaaa"), When("2026-11-20", "bbbbbbb")
KEPT, LOST = "tests/a/test_a.py::test_kept", "tests/a/test_a.py::test_lost"
RATE = Figure("e2e", "messages_per_s", "messages/s", at_least=500)


def table_of(*promises: Promise) -> Table:
    return Table((Chapter("Mail", promises),))


def row(promise: Promise, found: Results) -> str:
    """The cell with the result of a promise."""
    line = page(table_of(promise), found).splitlines()[-1]
    return line.split(" | ")[-1].removesuffix(" |")


def known(**by_name: TestResult) -> Results:
    return Results({f"tests/a/test_a.py::test_{name}": found for name, found in by_name.items()})


PASSED, FAILED = TestResult(3, 0, OLD), TestResult(2, 1, NEW)


@pytest.mark.parametrize(
    ("named", "found", "expected"),
    [
        pytest.param((KEPT,), Results(), "not measured", id="never ran"),
        pytest.param((KEPT,), known(other=PASSED), "not measured", id="another test ran"),
        pytest.param(
            (KEPT,), known(kept=PASSED), "3 cases passed (2026-11-01, aaaaaaa)", id="passed"
        ),
        pytest.param(
            (KEPT, LOST),
            known(kept=TestResult(1, 0, OLD)),
            "1 case passed (2026-11-01, aaaaaaa); not measured: `test_lost`",
            id="one of two ran",
        ),
        pytest.param(
            (KEPT, LOST),
            known(kept=PASSED, lost=FAILED),
            "**FAILED**: `test_lost` (2026-11-20, bbbbbbb)",
            id="one failed",
        ),
        pytest.param(
            ("tests/a/test_a.py",),
            known(kept=PASSED, lost=PASSED),
            "6 cases passed (2026-11-01, aaaaaaa)",
            id="a whole file",
        ),
    ],
)
def test_a_promise_holds_only_if_each_of_its_tests_passed(
    named: tuple[str, ...], found: Results, expected: str
) -> None:
    assert row(Promise("x", named), found) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (500.0, "500 messages/s, 2 processors (2026-11-20, bbbbbbb)"),
        (499.0, "**NOT MET**: 499 messages/s, 2 processors (2026-11-20, bbbbbbb)"),
        (None, "not measured"),
    ],
)
def test_a_figure_below_its_bound_is_shown_as_not_met(value: float | None, expected: str) -> None:
    found = {} if value is None else {RATE.key: Measured(value, 2, NEW)}
    assert row(Promise("x", figure=RATE), Results(figures=found)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("rate", 7.0),
        ("summary[kind=kill].seconds", 2.5),
        ("a.b", 1.0),
        ("missing", "the document has no 'missing'"),
        ("summary[kind=other].seconds", "no element matches 'summary[kind=other]'"),
        ("a", "{'b': 1} is no number"),
        ("holds", "True is no number"),
        ("rate.x", "the document has no 'x'"),
    ],
)
def test_a_value_is_found_by_its_path_or_the_fault_is_named(path: str, expected: Any) -> None:
    document = {
        "rate": 7,
        "a": {"b": 1},
        "holds": True,
        "summary": [{"kind": "pause", "seconds": 1}, {"kind": "kill", "seconds": 2.5}],
    }
    figure = Figure("e2e", path, "s", at_most=9)
    if isinstance(expected, float):
        assert results.value_at(document, figure) == expected
    else:
        with pytest.raises(ResultError) as fault:
            results.value_at(document, figure)
        assert expected in str(fault.value)


def test_a_run_of_some_tests_leaves_the_results_of_the_others() -> None:
    old = known(kept=PASSED, gone=PASSED)
    found = results.merged(old, table_of(Promise("x", (KEPT, LOST))), known(lost=FAILED).tests)
    assert found == known(kept=PASSED, lost=FAILED)


def test_an_older_run_does_not_replace_a_newer_result() -> None:
    old = known(kept=TestResult(1, 1, NEW))
    promised = table_of(Promise("x", (KEPT,)))
    assert results.merged(old, promised, known(kept=PASSED).tests) == old


def test_a_benchmark_gives_only_the_figures_of_its_source() -> None:
    other = Figure("rules", "messages_per_s", "messages/s", at_least=1)
    promised = table_of(Promise("x", figure=RATE), Promise("y", figure=other))
    found = results.with_document(Results(), promised, "e2e", {"messages_per_s": 600}, NEW, 4)
    assert found.figures == {RATE.key: Measured(600.0, 4, NEW)}


def test_the_figures_of_a_benchmark_get_on_the_page(tmp_path: Path) -> None:
    document = tmp_path / "e2e.json"
    document.write_text('{"ratio": 1.234}')
    written = promises.pages(documents=[f"e2e={document}"])
    assert "1.234 times Postfix" in written[PAGE]
    assert '"value": 1.234' in written[results.RESULTS]


def test_a_figure_that_was_not_measured_this_time_stays_as_it_was() -> None:
    second = Figure("e2e", "ratio", "times", at_least=1)
    promised = table_of(Promise("x", figure=RATE), Promise("y", figure=second))
    old = Results(figures={second.key: Measured(1.5, 2, OLD)})
    found = results.with_document(old, promised, "e2e", {"messages_per_s": 600}, NEW, 4)
    assert found.figures[second.key] == Measured(1.5, 2, OLD)
    assert found.figures[RATE.key].value == 600
    with pytest.raises(ResultError):
        results.with_document(old, promised, "e2e", {}, NEW, 4)


@pytest.mark.parametrize(
    ("named", "fault"),
    [
        ("other=x.json", "--bench other: no promise has a figure of this source"),
        ("e2e=no-such-file.json", "--bench e2e: no-such-file.json: No such file"),
        ("e2e", "--bench e2e: .: Is a directory"),
        ("e2e=README.md", "--bench e2e: README.md is not JSON"),
        ("e2e=docs/promises-results.json", "e2e:ratio: the document has no 'ratio'"),
    ],
)
def test_a_document_that_cannot_be_used_is_named(
    named: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paths.ROOT)
    with pytest.raises(ResultError) as error:
        promises.pages(documents=[named])
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[[chapter]]\ntitle="a"\n[[chapter.promise]]\npromise="x"', "no test and no figure"),
        (
            '[[chapter]]\ntitle="a"\n[[chapter.promise]]\npromise="x"\n'
            'figure={source="e2e",path="a",unit="s"}',
            "needs one of at_least and at_most",
        ),
        (
            '[[chapter]]\ntitle="a"\n'
            '[[chapter.promise]]\npromise="x"\ntests=["t"]\n'
            '[[chapter.promise]]\npromise="x"\ntests=["t"]',
            "is there twice",
        ),
        ('[[chapter]]\ntitle="a"\n[[chapter.promise]]\nprimose="x"', "unknown field `primose`"),
        ("[[chapter", "promises.toml"),
    ],
)
def test_a_fault_of_the_table_is_named(text: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "promises.toml"
    file.write_text(text)
    with pytest.raises(TableError) as error:
        table.load(file)
    assert fault in str(error.value)


def test_cases_are_counted_by_function_and_a_failed_set_up_is_a_failure() -> None:
    outcomes = run_log.Outcomes()
    for node_id, phase, outcome in (
        (f"{KEPT}[one]", "setup", "passed"),
        (f"{KEPT}[one]", "call", "passed"),
        (f"{KEPT}[two]", "call", "passed"),
        (LOST, "setup", "failed"),
        ("tests/a/test_a.py::test_skipped", "setup", "skipped"),
    ):
        outcomes.add(node_id, phase, outcome)
    assert outcomes.results(NEW) == {KEPT: TestResult(2, 0, NEW), LOST: TestResult(0, 1, NEW)}


def test_a_test_of_a_group_that_runs_on_one_worker_counts_under_its_own_name() -> None:
    outcomes = run_log.Outcomes()
    for node_id in ("tests/a.py::test_one@shared-line", "tests/a.py::test_two[x@y]@shared-line"):
        outcomes.add(node_id, "call", "passed")
    when = When("2026-11-29", "abc")
    assert outcomes.results(when).keys() == {"tests/a.py::test_one", "tests/a.py::test_two"}


def test_a_run_adds_to_the_log_of_earlier_ones(tmp_path: Path) -> None:
    log = tmp_path / "results" / "tests.json"
    run_log.add({}, log)
    assert run_log.read(log) == {}
    run_log.add({KEPT: PASSED}, log)
    run_log.add({LOST: FAILED}, log)
    assert run_log.read(log) == {KEPT: PASSED, LOST: FAILED}
