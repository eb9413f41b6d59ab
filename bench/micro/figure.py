"""A time per message, and the table that shows several."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from cli.terminal import Column, Kind

COLUMNS: Final = (
    Column("what"),
    Column("min us", Kind.COUNT),
    Column("median us", Kind.COUNT),
    Column("per second", Kind.COUNT),
    Column("required", Kind.TEXT),
)


class Figure(Struct, frozen=True):
    """Microseconds per message: the fastest round, and the median of the rounds."""

    min_us: float
    median_us: float


def row(name: str, figure: Figure, note: str, *, at_us: float, digits: int) -> tuple[str, ...]:
    """A row of COLUMNS; the messages per second are those at `at_us`."""
    times = (f"{each:.{digits}f}" for each in (figure.min_us, figure.median_us))
    return (name, *times, str(per_second(at_us)), note)


def per_second(us: float) -> int:
    """Messages per second at so many microseconds each."""
    return int(1e6 / us)
