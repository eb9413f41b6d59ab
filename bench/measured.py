"""Runs a measurement, ends what it started, and shows its figures.

Without measured(), a `timeout` command or a closed terminal would end the benchmark at once. The
sinks and brokers of the benchmark would then keep running and slow down the next measurement.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import uvloop
from msgspec import Struct

from bench.smtp_sink import PeerError
from cli.answer import SIGNALS, StopAskedError, interruptible
from cli.terminal import Column, Kind
from local.process import PartNotStarted
from shared.runtime.errors import Exit

T = TypeVar("T")
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


def measured(measure: Callable[[], T]) -> T:
    """Run a measurement and return its result. If a part or a peer cannot be started, exit. On
    SIGINT, SIGTERM or SIGHUP, end everything that was started, then exit."""
    try:
        with interruptible():
            return measure()
    except (PeerError, PartNotStarted) as error:
        print(f"sluice: {error}", file=sys.stderr)
        sys.exit(Exit.PART_UNAVAILABLE)
    except StopAskedError:
        print("sluice: interrupted; nothing is left running", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new event loop. Call this function only within measured().

    Here, a signal cancels the coroutine instead of raising an exception, because an event loop
    would attribute the exception to the interrupted callback. Raises StopAskedError when the
    cancelled coroutine has ended.
    """
    return uvloop.run(_until_asked(work))


async def _until_asked(work: Coroutine[Any, Any, T]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise StopAskedError from None
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies. `ordered` must be in ascending
    order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def row(name: str, figure: Figure, note: str, *, at_us: float, digits: int) -> tuple[str, ...]:
    """Return a row with the columns of COLUMNS. The messages per second are computed from
    `at_us`."""
    times = (f"{each:.{digits}f}" for each in (figure.min_us, figure.median_us))
    return (name, *times, str(per_second(at_us)), note)


def per_second(us: float) -> int:
    """Convert microseconds per message to messages per second."""
    return int(1e6 / us)
