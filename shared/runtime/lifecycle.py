"""How a process begins and ends: signals become a Stop, faults become an exit code.

Exit codes: 0 well, 1 the check failed, 2 wrong use, 3 a part is away; 75 when a drain
outlasts its time-out (safe: Kafka tells the successor everything again).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from shared.runtime.errors import Unavailable, UsageError
from shared.runtime.failpoints import FailpointError
from shared.settings.loader import SettingsError

OK: Final = 0
CHECK_FAILED: Final = 1
USAGE_ERROR: Final = 2
PART_UNAVAILABLE: Final = 3
DRAIN_OVERDUE: Final = 75  # EX_TEMPFAIL, as the watchdog's
# What a drain may take beyond its time-out before the process is ended, for closing up.
DRAIN_GRACE_S: Final = 5.0

log = logging.getLogger(__name__)


class Stop:
    """Told once that the process is to stop; threads wait on it, loops are called back."""

    def __init__(self) -> None:
        self._event = threading.Event()
        # A signal handler may interrupt the holder of this lock in the same thread.
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], None]] = []
        self.reason = ""

    def set(self, reason: str = "asked to stop") -> None:
        """Ask to stop; the first reason stays, later calls change nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def is_set(self) -> bool:
        """Whether the process is to stop."""
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until asked to stop or the time is over; whether asked to stop."""
        return self._event.wait(timeout_s)

    def call(self, callback: Callable[[], None]) -> None:
        """Call back when asked to stop, at once if that has been; must be quick."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    async def wait_async(self) -> None:
        """Wait inside an event loop until asked to stop."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(stopped.set)

        self.call(wake)
        await stopped.wait()


def stop_on_signals(stop: Stop) -> None:
    """Set `stop` on SIGTERM and SIGINT. Call it in the main thread.

    Repeated signals change nothing: a terminal's Ctrl-C reaches a whole process group, and
    its supervisor then asks once more.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.set(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def bound_drain(stop: Stop, drain_timeout_s: float) -> None:
    """End the process hard when it outlives its stop by the drain time-out and a grace."""

    def end() -> None:
        log.error("the drain is overdue: ending this process")
        logging.shutdown()
        os._exit(DRAIN_OVERDUE)

    def begin() -> None:
        timer = threading.Timer(drain_timeout_s + DRAIN_GRACE_S, end)
        timer.daemon = True
        timer.start()

    stop.call(begin)


def run_main(main: Callable[[], int]) -> int:
    """Run a command or service and return its exit code; wrong use prints no stack trace."""
    try:
        return main()
    except SettingsError as error:
        for fault in error.faults:
            print(f"settings: {fault}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return USAGE_ERROR
    except (UsageError, FailpointError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return USAGE_ERROR
    except Unavailable as error:
        print(error, file=sys.stderr)  # noqa: T201
        return PART_UNAVAILABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        return 128 + signal.SIGPIPE
