"""Records the outcomes of a test run for the page of promises (tools/promises)."""

from __future__ import annotations

import pytest

from tools.promises import run_log


class RunLog:
    """A plugin of pytest: counts the cases of each test and writes them when the run ends."""

    def __init__(self) -> None:
        self._outcomes = run_log.Outcomes()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcomes.add(report.nodeid, report.when or "", report.outcome)

    def pytest_sessionfinish(self) -> None:
        run_log.add(self._outcomes.results(run_log.now()))
