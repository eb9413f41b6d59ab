"""Stores the outcomes of test runs in .sluice/results/tests.json, and reads JUnit files.

Job: add the outcomes of a test run, with its date and commit, to the outcomes of earlier runs. The
file belongs to this checkout. `python -m tools.docs promises --record` reads this file and uses the
results of the tests in the table.

If the tests.json of a run is not available, for example after a run in CI, the outcomes are read
from the JUnit file that `./sluice test --junitxml=FILE` writes. That file contains the date of the
run but not its commit. So read the file in the checkout in which the tests ran. Raises
ResultError if the file is not a JUnit file of a test run.

Guarantees: if two runs end at the same time, the outcomes of both are stored, because a lock
protects the file. If a run is aborted, the outcomes of its finished tests are stored. A skipped
test has no outcome.
"""

from __future__ import annotations

import datetime
import fcntl
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import msgspec
from msgspec import Struct

from cli.stack import paths
from tools.promises.results import ResultError, TestResult, When

LOG: Final = paths.STATE / "results" / "tests.json"
_GIT_TIMEOUT_S: Final = 10
_DATE_CHARS: Final = len("2026-01-31")


class Outcomes(Struct):
    """The outcomes of one run. All cases of a test function have one common result."""

    passed: Counter[str] = msgspec.field(default_factory=Counter)
    failed: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, node_id: str, phase: str, outcome: str) -> None:
        """Count one report of pytest. A failed set-up or tear-down is also counted as a failure."""
        # pytest-xdist adds `@group` to the name of a test that belongs to a group.
        name = node_id.partition("[")[0].partition("@")[0]
        if outcome == "failed":
            self.failed[name] += 1
        elif outcome == "passed" and phase == "call":
            self.passed[name] += 1

    def results(self, when: When) -> dict[str, TestResult]:
        """Return one result for each function that ran."""
        return {
            name: TestResult(self.passed[name], self.failed[name], when)
            for name in sorted({*self.passed, *self.failed})
        }


def add(results: Mapping[str, TestResult], path: Path = LOG) -> None:
    """Write the results to the file. They replace earlier results of the same tests."""
    if not results:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        together = {**read(path), **results}
        draft = path.with_suffix(".part")
        draft.write_bytes(msgspec.json.encode(together))
        draft.replace(path)


def read(path: Path = LOG) -> dict[str, TestResult]:
    """Return all results. If there is no file, or it cannot be read, return no results."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, TestResult])
    except (OSError, msgspec.DecodeError):
        return {}


def now() -> When:
    """Return today's date, and the commit of this checkout or `unknown`."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    changed = "+" if _git("status", "--porcelain", "--untracked-files=no") else ""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return When(today, commit + changed)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read_junit(file: Path, commit: str, root: Path = paths.ROOT) -> dict[str, TestResult]:
    """Return the result of each test function in the file."""
    try:
        # The file is from our own test run, so its XML is trusted.
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
