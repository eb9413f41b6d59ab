"""Stores the last results of tests and benchmarks in docs/promises-results.json.

Job: store the results that the table of promises needs, each with its date and commit. The results
come from the documents of test runs and benchmarks. Owns: the file, and the code that finds a value
in the JSON of a benchmark.

Guarantees: if a result is not measured again, it stays unchanged. A test without cases or a missing
value is never stored as a result. Raises ResultError if a value cannot be found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from cli.stack import paths
from tools.promises.table import Figure, Promise, Table

RESULTS: Final = paths.ROOT / "docs" / "promises-results.json"
# A segment of a path: `figures[name=ingest]` selects the element of a list by one of its fields.
_SEGMENT: Final = re.compile(r"(?P<key>\w+)(?:\[(?P<field>\w+)=(?P<value>[^\]]+)\])?")


class When(Struct, frozen=True):
    """The day and the commit of a run. `commit` ends with `+` if files differed from the commit."""

    date: str
    commit: str


class TestResult(Struct, frozen=True):
    """The cases of one test function in its last run."""

    __test__ = False  # This class is not a test, so pytest must not collect it.

    passed: int
    failed: int
    when: When


class Measured(Struct, frozen=True):
    """A value of a benchmark, and the number of processors with which it was measured."""

    value: float
    processors: int
    when: When


class Results(Struct, frozen=True):
    """All results, by test and by figure."""

    tests: dict[str, TestResult] = {}
    figures: dict[str, Measured] = {}


class ResultError(ValueError):
    """A document does not contain a value that the table refers to."""


def load(path: Path = RESULTS) -> Results:
    """Return the stored results. If there is no file, return empty results."""
    if not path.exists():
        return Results()
    return msgspec.json.decode(path.read_bytes(), type=Results)


def encode(results: Results) -> str:
    """Return the sorted text of the file, so that equal results always give equal bytes."""
    return (
        msgspec.json.format(msgspec.json.encode(results, order="sorted"), indent=1).decode() + "\n"
    )


def tests_of(promise: Promise, known: Mapping[str, TestResult]) -> dict[str, TestResult]:
    """Return the known results of the tests and test files in the table entry of a promise."""
    return {
        name: result
        for name, result in known.items()
        if name in promise.tests or name.partition("::")[0] in promise.tests
    }


def merged(old: Results, table: Table, seen: Mapping[str, TestResult]) -> Results:
    """Merge the results of test runs into the old results. Results of tests that are not in the
    table are left out.

    The later result of a test is used, so an old file does not replace newer results.
    """
    newer = {
        name: result
        for name, result in seen.items()
        if name not in old.tests or result.when.date >= old.tests[name].when.date
    }
    known = {**old.tests, **newer}
    tests: dict[str, TestResult] = {}
    for promise in table.promises:
        tests |= tests_of(promise, known)
    wanted = {each.figure.key for each in table.promises if each.figure}
    figures = {key: value for key, value in old.figures.items() if key in wanted}
    return Results(tests, figures)


def with_document(
    old: Results, table: Table, source: str, document: Any, when: When, processors: int
) -> Results:
    """Return the results with the values of one benchmark's document added.

    If a value is missing in the document, its earlier result stays. For example, a long run may
    include only some kinds of faults. Raises ResultError if the document has none of the values
    that the table refers to.
    """
    wanted = [each.figure for each in table.promises if each.figure]
    found: dict[str, Measured] = {}
    faults: list[ResultError] = []
    for figure in wanted:
        if figure.source == source:
            try:
                found[figure.key] = Measured(value_at(document, figure), processors, when)
            except ResultError as fault:
                faults.append(fault)
    if faults and not found:
        raise faults[0]
    return Results(old.tests, {**old.figures, **found})


def value_at(document: Any, figure: Figure) -> float:
    """Find the value of a figure in a document. Raises ResultError."""
    found = document
    for segment in figure.path.split("."):
        found = _step(found, segment, figure)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ResultError(f"{figure.key}: {found!r} is no number")
    return round(float(found), 3)


def _step(document: Any, segment: str, figure: Figure) -> Any:
    parsed = _SEGMENT.fullmatch(segment)
    if parsed is None or not isinstance(document, dict) or parsed["key"] not in document:
        raise ResultError(f"{figure.key}: the document has no {segment!r}")
    found = document[parsed["key"]]
    if parsed["field"] is None:
        return found
    for element in found if isinstance(found, list) else ():
        if isinstance(element, dict) and str(element.get(parsed["field"])) == parsed["value"]:
            return element
    raise ResultError(f"{figure.key}: no element matches {segment!r}")
