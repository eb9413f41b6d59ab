"""The result of the benchmark of the deliver service: rows, requirements, a table.

Owns: everything that is derived from the figures. Does not own: the measuring (deliver.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct

from bench.micro.pools import Figure
from cli.terminal import PIPED_WIDTH, Column, Kind, lay_out

ENGINE: Final = "deliver"
SOURCE: Final = "smtp-source"
AIOSMTPLIB: Final = "aiosmtplib"
SIGNING: Final = "deliver, DKIM RSA-2048"
POSTFIX: Final = "Postfix and OpenDKIM"
PLAIN: Final = "deliver, plain, TLS sink"
TLS: Final = "deliver, TLS"
LARGE: Final = "deliver, 100 KB"
UNSHAPED: Final = "deliver, no limits"
SHAPED: Final = "deliver, all limits"

LEAST_TO_SOURCE: Final = 1.0
LEAST_TO_AIOSMTPLIB: Final = 3.0
LEAST_TO_POSTFIX: Final = 3.0
LEAST_TLS_TO_PLAIN: Final = 0.7
LEAST_LARGE_PER_CORE: Final = 250.0
MOST_SHAPED: Final = 1.1

_COLUMNS: Final = (
    Column("sender"),
    Column("messages/s", Kind.COUNT),
    Column("CPU us", Kind.COUNT),
    Column("runs", Kind.TEXT),
)


class Row(Struct, frozen=True):
    """The medians of all runs of one sender. `cpu_us` is 0.0 if the CPU time is not known.

    `rates` has the messages per second of each run. `costs` has the CPU time per message of each
    run.
    """

    name: str
    messages_per_s: float
    cpu_us: float
    rates: tuple[float, ...]
    costs: tuple[float, ...]


class Bar(Struct, frozen=True):
    """One requirement: the measured value, the required value, and True if the requirement is
    met."""

    name: str
    found: float
    wanted: str
    holds: bool


class Result(Struct, frozen=True):
    """The JSON of `bench deliver`."""

    messages: int
    size_bytes: int
    connections: int
    rows: list[Row]
    bars: list[Bar]
    left_out: list[str]  # One line for each omitted measurement, with the reason.


def row_of(name: str, figures: Sequence[Figure]) -> Row:
    """Return the medians of the runs of one sender."""
    return Row(
        name,
        round(median(figure.messages_per_s for figure in figures), 1),
        round(median(figure.cpu_us_per_message for figure in figures), 1),
        tuple(figure.messages_per_s for figure in figures),
        tuple(figure.cpu_us_per_message for figure in figures),
    )


def _ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios of all pairs of runs. A disturbance of the machine affects
    both runs of a pair."""
    return round(median(a / b for a, b in zip(these, those, strict=True)), 2)


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """Return the requirements on the rows that were measured."""
    by_name = {row.name: row for row in rows}
    bars = []
    for name, one, other, least in (
        ("to smtp-source", ENGINE, SOURCE, LEAST_TO_SOURCE),
        ("to aiosmtplib", ENGINE, AIOSMTPLIB, LEAST_TO_AIOSMTPLIB),
        ("signing, to Postfix and OpenDKIM", SIGNING, POSTFIX, LEAST_TO_POSTFIX),
        ("TLS to plain", TLS, PLAIN, LEAST_TLS_TO_PLAIN),
    ):
        if one in by_name and other in by_name:
            found = _ratio(by_name[one].rates, by_name[other].rates)
            bars.append(Bar(name, found, f"at least {least}", found >= least))
    if LARGE in by_name:
        found = round(1e6 / by_name[LARGE].cpu_us, 1)
        wanted = f"at least {LEAST_LARGE_PER_CORE:.0f}"
        bars.append(
            Bar("100 KB messages per CPU second", found, wanted, found >= LEAST_LARGE_PER_CORE)
        )
    if SHAPED in by_name:
        found = _ratio(by_name[SHAPED].costs, by_name[UNSHAPED].costs)
        bars.append(
            Bar(
                "CPU with all limits to that without",
                found,
                f"at most {MOST_SHAPED}",
                found <= MOST_SHAPED,
            )
        )
    return bars


def described(result: Result, width: int = PIPED_WIDTH) -> str:
    """Return the result as text, with a table that fits a terminal of this width."""
    cells = [
        (
            row.name,
            f"{row.messages_per_s:.0f}",
            f"{row.cpu_us:.0f}" if row.cpu_us else "",
            " ".join(f"{rate:.0f}" for rate in row.rates),
        )
        for row in result.rows
    ]
    lines = [
        f"{result.messages} messages of {result.size_bytes} bytes over {result.connections}"
        " connections; medians",
        "",
        *lay_out(_COLUMNS, cells, width),
        "",
        *(
            f"{bar.name}: {bar.found}, required {bar.wanted}: {'holds' if bar.holds else 'NOT MET'}"
            for bar in result.bars
        ),
        *result.left_out,
    ]
    return "\n".join(lines)
