"""`python -m tools.measure_returned FOLDER` measures how well returned mail is understood.

Owns: the mapping from the samples' labels to our kinds, and the bars, which are minimum shares.
FOLDER has the sample files in `returned/`, and `returned.jsonl` with one object per line. The
fields of an object are `file`, `expected`, `is_bounce`, `recipients`, `score_class` and
`label_kind`. The samples do not belong to this repository.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct

from shared.responses.reading import understand
from shared.responses.reports.addresses import normal_form
from shared.responses.rules.loading import load_rules
from shared.responses.rules.model import Rules
from shared.responses.understood import ResponseKind, Understood
from shared.runtime.clock import SystemClock

# The kinds that each label allows. In the labels, a refusal because of policy or content is "soft".
ALLOWED: Final[dict[str, frozenset[ResponseKind]]] = {
    "hard": frozenset({ResponseKind.HARD}),
    "soft": frozenset({ResponseKind.SOFT, ResponseKind.POLICY, ResponseKind.CONTENT}),
    "mixed": frozenset({ResponseKind.HARD, ResponseKind.SOFT}),
    "complaint": frozenset({ResponseKind.COMPLAINT}),
    "autoresponder": frozenset({ResponseKind.AUTO_REPLY}),
    "not-a-bounce": frozenset(
        {
            ResponseKind.AUTO_REPLY,
            ResponseKind.REPLY,
            ResponseKind.UNKNOWN,
            ResponseKind.UNSUBSCRIBE,
            ResponseKind.COMPLAINT,
        }
    ),
}
NO_BOUNCE: Final = frozenset({"autoresponder", "not-a-bounce", "complaint"})
SLOWEST_MS: Final = 50.0


class Row(Struct, frozen=True):
    """One sample: its label, and the meaning that was found."""

    label: dict[str, Any]
    found: Understood | None  # None if an exception was raised.
    time_ms: float

    @property
    def is_right(self) -> bool:
        """Return True if the label allows the kind."""
        return self.found is not None and self.found.kind in ALLOWED[self.label["expected"]]

    @property
    def named(self) -> set[str]:
        """Return the recipients in the label."""
        return {normal_form(row["addr"]).lower() for row in self.label["recipients"] if row["addr"]}

    @property
    def read(self) -> set[str]:
        """Return the recipients that were found."""
        found = self.found.recipients if self.found else ()
        return {row.address.lower() for row in found if row.address}


class Figure(Struct, frozen=True):
    """A share of samples, and the bar that the share must reach."""

    name: str
    right: int
    total: int
    bar: float

    @property
    def is_reached(self) -> bool:
        """Return True if the share is at least the bar."""
        return self.right >= self.bar * self.total


@click.command(help="Understand the messages of FOLDER and compare with FOLDER/returned.jsonl.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--wrong", is_flag=True, help="List the messages that were classified wrongly.")
@click.option(
    "--half",
    type=click.Choice(["a", "b"]),
    help="Measure only this half of the messages; the file's name decides the half.",
)
def main(folder: Path, wrong: bool, half: str | None) -> None:
    """Print the figures. Exit with 1 if a figure is below its bar."""
    lines = (folder / "returned.jsonl").read_text("utf-8").splitlines()
    labels = [json.loads(line) for line in lines if line.strip()]
    labels = [label for label in labels if half in (None, half_of(label))]
    rows = list(measure(load_rules(), folder / "returned", labels))
    figures = list(figures_of(rows))
    for line in report(rows, figures, wrong):
        click.echo(line)
    if not all(figure.is_reached for figure in figures) or not has_no_fault(rows):
        raise SystemExit(1)


def half_of(label: dict[str, Any]) -> str:
    """Return the half to which a sample belongs. Copies with other line ends belong to the same
    half."""
    name = (label.get("dup_of") or label["file"]).replace("-crlf/", "/").replace("-cr/", "/")
    return "a" if hashlib.sha256(name.encode()).digest()[0] % 2 == 0 else "b"


def measure(rules: Rules, folder: Path, labels: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Understand each sample."""
    clock = SystemClock()
    for label in labels:
        content = (folder / label["file"]).read_bytes()
        found: Understood | None = None
        times_s: list[float] = []
        for _ in range(2):  # The faster run is used, because the machine may be busy.
            start = clock.monotonic()
            try:
                found = understand(content, rules)
            except Exception:  # The report counts the failure.
                found = None
            times_s.append(clock.monotonic() - start)
        yield Row(label, found, min(times_s) * 1000)


def figures_of(rows: Sequence[Row]) -> Iterator[Figure]:
    """Yield the figures that have a bar."""
    scored = [row for row in rows if row.label["score_class"]]
    yield _figure("class right", scored, lambda row: row.is_right, 0.93)
    called = [row for row in scored if _is_hard(row) and row.label["expected"] != "mixed"]
    yield _figure("hard is right", called, lambda row: row.label["expected"] == "hard", 0.98)
    hard = [row for row in scored if row.label["expected"] == "hard"]
    yield _figure("hard is found", hard, _is_hard, 0.92)
    complaints = [row for row in scored if row.label["expected"] == "complaint"]
    yield _figure("complaints", complaints, lambda row: row.is_right, 0.97)
    named = [row for row in rows if row.named and _names_all(row)]
    yield _figure("recipients exact", named, lambda row: row.named == row.read, 0.94)


def _figure(name: str, rows: Sequence[Row], is_right: Any, bar: float) -> Figure:
    return Figure(name, sum(map(is_right, rows)), len(rows), bar)


def _is_hard(row: Row) -> bool:
    return row.found is not None and row.found.kind is ResponseKind.HARD


def _names_all(row: Row) -> bool:
    return all(recipient["addr"] for recipient in row.label["recipients"])


def wrongly_hard(rows: Sequence[Row]) -> list[Row]:
    """Return the samples that were found hard although their label is no bounce or a temporary
    failure."""
    return [
        row
        for row in rows
        if _is_hard(row)
        and (
            row.label["expected"] in NO_BOUNCE
            or (row.label["label_kind"] == "permanence" and row.label["expected"] == "soft")
        )
    ]


def has_no_fault(rows: Sequence[Row]) -> bool:
    """Return True if no sample failed, none was wrongly found hard, and none was slow."""
    failed = any(row.found is None for row in rows)
    return not failed and not wrongly_hard(rows) and slowest_ms(rows) <= SLOWEST_MS


def slowest_ms(rows: Sequence[Row]) -> float:
    """Return the 99th percentile of the time per message."""
    times = sorted(row.time_ms for row in rows)
    return times[min(len(times) - 1, len(times) * 99 // 100)] if times else 0.0


def report(rows: Sequence[Row], figures: Sequence[Figure], wrong: bool) -> Iterator[str]:
    """Yield the lines to print."""
    for one in figures:
        share = one.right / max(1, one.total)
        mark = "" if one.is_reached else f"  below {one.bar:.0%}"
        yield f"{one.name:18} {one.right:4} of {one.total:4}  {share:6.1%}{mark}"
    bounces = [row for row in rows if row.label.get("is_bounce")]
    seen = sum(row.found is not None and bool(row.found.recipients) for row in bounces)
    share = seen / max(1, len(bounces))
    yield f"{'bounces recognised':18} {seen:4} of {len(bounces):4}  {share:6.1%}"
    yield f"{len(wrongly_hard(rows))} auto-replies, ordinary or passing ones called hard"
    yield f"{sum(row.found is None for row in rows)} exceptions"
    mean = sum(row.time_ms for row in rows) / max(1, len(rows))
    yield f"time per message: {mean:.2f} ms mean, {slowest_ms(rows):.1f} ms at the 99th percentile"
    if wrong:
        yield from _wrong_lines(rows)


def _wrong_lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        label, found = row.label, row.found
        kind = f"{found.kind} ({found.rule})" if found else "an exception"
        if label["score_class"] and not row.is_right:
            yield f"class: {label['file']}: {label['expected']} ({label.get('reason')}) -> {kind}"
        if row.named and _names_all(row) and row.named != row.read:
            yield f"recipients: {label['file']}: {sorted(row.named)} -> {sorted(row.read)} ({kind})"
        if label.get("is_bounce") and found and not found.recipients:
            yield f"missed: {label['file']}: {kind}"
    for row in wrongly_hard(rows):
        yield f"wrongly hard: {row.label['file']}"


if __name__ == "__main__":
    main()
