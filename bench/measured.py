"""Ends a measurement in good order when something is missing or somebody asks for it.

Without it, `timeout` and a closed terminal would end the benchmark at once and leave its sinks and
brokers running, which slow down whatever is measured next.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from bench.smtp_sink import PeerError
from cli.answer import SIGNALS, StopAskedError, interruptible
from local.process import PartNotStarted
from shared.runtime.errors import Exit

T = TypeVar("T")


def measured(measure: Callable[[], T]) -> T:
    """Measure; end the process if a part or a peer cannot be started, or on SIGINT, SIGTERM or
    SIGHUP after what was started has been ended."""
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
    """Run a coroutine in an event loop of its own; inside of measured().

    A loop takes an exception of a signal handler for a fault of the callback that it interrupts,
    so there the signals cancel the coroutine. Raises StopAskedError when it has ended.
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
