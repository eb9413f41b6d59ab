"""The results of the runs of schedules: one line for each, a table by kind, a file.

Job: record the figures of each run when it ends, so that an aborted test run keeps
its results. The file is replaced as a whole after each run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.support.chaos.findings import Findings


class Result(Struct, frozen=True):
    """One run. `fault` is empty if all checks passed; `bill_difference` is billed - dispatched.

    `silence_s` is the longest time between two messages that destinations accepted at once.
    """

    kind: str
    name: str
    seed: int
    is_static: bool
    seconds: float
    messages: int = 0
    final_events: int = 0
    second_copies: int = 0
    copies_allowed: int = 0
    bill_difference: int = 0
    silence_s: float = 0.0
    fault: str = ""


class Summary(Struct, frozen=True):
    """All runs of one kind."""

    kind: str
    seeds: int
    failed: int
    messages: int
    final_events: int
    second_copies: int
    copies_allowed: int
    bill_difference: int
    silence_s: float
    seconds: float


def with_counts(result: Result, findings: Findings, copies_allowed: int) -> Result:
    """Return the result with the sums of the ledger checker."""
    counts = findings.counts
    return msgspec.structs.replace(
        result,
        messages=counts.promised,
        final_events=sum(counts.finals.values()),
        second_copies=counts.second_copies,
        copies_allowed=copies_allowed,
        bill_difference=counts.billed - counts.dispatched,
    )


def summarise(results: Iterable[Result]) -> list[Summary]:
    """One summary for each kind, in the order of their first runs."""
    by_kind: dict[str, list[Result]] = {}
    for result in results:
        by_kind.setdefault(result.kind, []).append(result)
    return [_summary(kind, found) for kind, found in by_kind.items()]


def _summary(kind: str, found: Sequence[Result]) -> Summary:
    return Summary(
        kind=kind,
        seeds=len(found),
        failed=sum(bool(result.fault) for result in found),
        messages=sum(result.messages for result in found),
        final_events=sum(result.final_events for result in found),
        second_copies=sum(result.second_copies for result in found),
        copies_allowed=sum(result.copies_allowed for result in found),
        # Differences of two runs must not cancel each other out.
        bill_difference=sum(abs(result.bill_difference) for result in found),
        silence_s=max(result.silence_s for result in found),
        seconds=round(sum(result.seconds for result in found), 1),
    )


def table(summaries: Sequence[Summary]) -> list[str]:
    """Return the lines of a table, one row for each kind."""
    names = Summary.__struct_fields__
    rows = [names, *(tuple(str(getattr(s, name)) for name in names) for s in summaries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


class Results:
    """The results so far, also written to a file if one is named."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._found: list[Result] = []

    @property
    def file(self) -> Path | None:
        """Return the path of the results, if they are written."""
        return self._file

    def add(self, result: Result) -> None:
        """Record a run that has ended."""
        self._found.append(result)
        if self._file is None:
            return
        document = {"summary": self.summaries(), "runs": self._found}
        encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        draft.write_bytes(encoded + b"\n")
        draft.replace(self._file)

    def summaries(self) -> list[Summary]:
        """Return the summary of each kind."""
        return summarise(self._found)
