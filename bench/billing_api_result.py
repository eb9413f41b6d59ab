"""The results of the benchmark of the billing service's HTTP API, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

PAGES: Final = 200
PAGE_BAR_MS: Final = 50.0


class Times(Struct, frozen=True):
    """The times of many requests, in milliseconds."""

    median: float
    p99: float
    worst: float

    def __str__(self) -> str:
        return f"median {self.median} ms, 99 % {self.p99} ms, at worst {self.worst} ms"


class Result(Struct, frozen=True):
    """The measurements. The times of pages are in milliseconds. The memory is the memory of the
    whole process in MiB."""

    store: str
    cells: int
    ready_s: float
    first_page_ms: float
    page_cpu_ms: float  # The CPU time of this process for a page, its client and a /health.
    page: Times
    page_health: Times
    counting: Times  # The pages while cells are added and the month is sorted again.
    counting_health: Times
    csv_s: float
    csv_bytes: int
    csv_rows: int
    memory_before: int  # The memory before the first request.
    memory_sorting: int  # The peak while the month was sorted.
    memory_streaming: int  # The largest increase while the CSV was streamed.

    @property
    def holds(self) -> bool:
        """Return True if page 1 is as fast as promised."""
        return max(self.page.p99, self.counting.p99) < PAGE_BAR_MS


def times_of(found: Sequence[float]) -> Times:
    """Return the statistics of these request times, which are in milliseconds."""
    ordered = sorted(found)
    median, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    return Times(round(median, 1), round(p99, 1), round(ordered[-1], 1))


def described(result: Result) -> str:
    """Return the result as text for people."""
    return "\n".join(
        [
            f"{result.cells:,} cells in {result.store}",
            f"ready, with the month sorted, after {result.ready_s} s;"
            f" page 1 for the first time: {result.first_page_ms} ms",
            f"page 1 (1,000 rows), {PAGES} times: {result.page};"
            f" {result.page_cpu_ms} ms of CPU time with its reader",
            f"  /health beside it: {result.page_health}",
            f"page 1 while counting and sorting: {result.counting} (bar {PAGE_BAR_MS:g})",
            f"  /health beside it: {result.counting_health}",
            f"CSV by day: {result.csv_rows:,} rows, {result.csv_bytes:,} bytes, {result.csv_s} s",
            f"memory: {result.memory_before} MiB before, {result.memory_sorting} MiB at most while"
            f" sorting, {result.memory_streaming} MiB more while streaming",
        ]
    )
