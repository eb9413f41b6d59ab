"""Generates the page of promises: each promise of Sluice, its tests, and its last result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tools.promises import page, results, run_log, table
from tools.promises.results import ResultError, Results


def pages(
    *, record: bool = False, documents: Sequence[str] = (), junit_files: Sequence[Path] = ()
) -> dict[Path, str]:
    """Return the text of the file of results and of the page, by path.

    If `record` is set, the last results of tests in this checkout are added. `documents` are texts
    `NAME=FILE`, where FILE is the JSON of the benchmark NAME. `junit_files` are the JUnit files of
    test runs. Raises ValueError with a text for the user.
    """
    promised = table.load()
    found = results.load()
    if record:
        found = results.merged(found, promised, run_log.read())
    for run in junit_files:
        found = results.merged(found, promised, run_log.read_junit(run, run_log.now().commit))
    for named in documents:
        source, _, path = named.partition("=")
        found = _with_file(found, promised, source, Path(path))
    return {results.RESULTS: results.encode(found), page.PAGE: page.page(promised, found)}


def _with_file(found: Results, promised: table.Table, source: str, file: Path) -> Results:
    if source not in {each.figure.source for each in promised.promises if each.figure}:
        raise ResultError(f"--bench {source}: no promise has a figure of this source")
    try:
        document = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise ResultError(f"--bench {source}: {file}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ResultError(f"--bench {source}: {file} is not JSON: {error}") from None
    return results.with_document(
        found, promised, source, document, run_log.now(), os.cpu_count() or 1
    )
