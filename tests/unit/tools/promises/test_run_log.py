"""Results of promises from the JUnit file of a test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.promises import run_log
from tools.promises.results import ResultError, TestResult, When

HEAD = '<testsuites><testsuite timestamp="2026-11-29T18:00:00.1+00:00">'
TAIL = "</testsuite></testsuites>"
WHEN = When("2026-11-29", "abc1234")


def case(name: str, inside: str = "", module: str = "tests.a.test_b") -> str:
    return f'<testcase classname="{module}" name="{name}">{inside}</testcase>'


def read(tmp_path: Path, *cases: str) -> dict[str, TestResult]:
    (tmp_path / "tests" / "a").mkdir(parents=True, exist_ok=True)
    (tmp_path / "tests" / "a" / "test_b.py").touch()
    file = tmp_path / "run.xml"
    file.write_text(HEAD + "".join(cases) + TAIL)
    return run_log.read_junit(file, WHEN.commit, tmp_path)


def test_the_cases_of_a_function_count_together_and_a_skipped_one_does_not(tmp_path: Path) -> None:
    cases = (
        case("test_one[a]"),
        case("test_one[b.py::x]"),
        case("test_two", "<skipped/>"),
        case("test_three[a]"),
        case("test_three[b]", "<failure/>"),
        case("test_four", "<error/>"),
        case("test_gone", module="tests.a.test_gone"),
    )
    assert read(tmp_path, *cases) == {
        "tests/a/test_b.py::test_one": TestResult(2, 0, WHEN),
        "tests/a/test_b.py::test_three": TestResult(1, 1, WHEN),
        "tests/a/test_b.py::test_four": TestResult(0, 1, WHEN),
    }


@pytest.mark.parametrize("text", ["", "<testsuites/>", HEAD + case("t", "<skipped/>") + TAIL])
def test_a_file_without_results_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.xml"
    file.write_text(text)
    with pytest.raises(ResultError, match="--junit"):
        run_log.read_junit(file, "abc", tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"gone\.xml: No such file"):
        run_log.read_junit(tmp_path / "gone.xml", "abc")
