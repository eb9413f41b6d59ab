"""The outcomes of a test run from its JUnit file, as `./sluice test --junitxml=FILE` writes it.

For a run whose .sluice/results/tests.json is not at hand, such as one of CI. The file has the date
of the run but not its commit: take it up in the checkout that the tests ran in. A skipped test is
no result. Raises ResultError if the file cannot be read as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from cli.stack import paths
from tools.promises.results import ResultError, TestResult, When
from tools.promises.run_log import Outcomes

_DATE_CHARS: Final = len("2026-01-31")


def read(file: Path, commit: str, root: Path = paths.ROOT) -> dict[str, TestResult]:
    """Return the result of each test function in the file."""
    try:
        # A file of our own test run, named by whoever runs this.
        document = ElementTree.parse(file).getroot()  # noqa: S314
    except OSError as error:
        raise ResultError(f"--junit {file}: {error.strerror}") from None
    except ElementTree.ParseError as error:
        raise ResultError(f"--junit {file}: not XML: {error}") from None
    found: dict[str, TestResult] = {}
    for suite in document.iter("testsuite"):
        outcomes = Outcomes()
        for node_id, outcome in _cases(suite, root):
            outcomes.add(node_id, "call", outcome)
        date = suite.get("timestamp", "")[:_DATE_CHARS]
        found |= outcomes.results(When(date, commit))
    if not found:
        raise ResultError(f"--junit {file}: no test in it has an outcome")
    return found


def _cases(suite: ElementTree.Element, root: Path) -> Iterator[tuple[str, str]]:
    for case in suite.iter("testcase"):
        path = case.get("classname", "").replace(".", "/") + ".py"
        if case.find("skipped") is None and (root / path).is_file():
            has_failed = case.find("failure") is not None or case.find("error") is not None
            yield f"{path}::{case.get('name', '')}", "failed" if has_failed else "passed"
