"""Starts and ends a process: turns signals into a Stop, and faults into an exit code.

The exit codes are in errors.py. If a drain exceeds its time-out, the process ends with RESTART.
This is safe because the next process reads all unfinished records from Kafka again.
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

from shared.runtime.commands import OutputLost, give_up_output
from shared.runtime.errors import Exit, Unavailable, UsageError
from shared.runtime.failpoints import FailpointError
from shared.settings.loader import SettingsError

OK: Final = Exit.OK
# The process is ended if it still runs this long after the drain time-out.
DRAIN_GRACE_S: Final = 5.0

log = logging.getLogger(__name__)


class Stop:
    """A request to stop the process. Threads wait for it; event loops get a callback."""

    def __init__(self) -> None:
        self._event = threading.Event()
        # Re-entrant, because a signal handler may interrupt the holder of this lock in the same
        # thread.
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], None]] = []
        self.reason = ""

    def set(self, reason: str = "asked to stop") -> None:
        """Request the stop. Only the first call has an effect; its reason is kept."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def is_set(self) -> bool:
        """Return whether a stop was requested."""
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the stop, at most `timeout_s`; return whether the stop was requested."""
        return self._event.wait(timeout_s)

    def call(self, callback: Callable[[], None]) -> None:
        """Call `callback` when a stop is requested, or at once if a stop was requested before.

        The callback must be fast.
        """
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    async def wait_async(self) -> None:
        """Wait inside an event loop until a stop is requested."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has already ended
                loop.call_soon_threadsafe(stopped.set)

        self.call(wake)
        await stopped.wait()


def stop_on_signals(stop: Stop) -> None:
    """Set `stop` on SIGTERM and SIGINT. Call this function in the main thread.

    Repeated signals have no effect. Repeated signals are normal, because Ctrl-C in a terminal
    reaches the whole process group, and then the supervisor sends another signal.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.set(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def bound_drain(stop: Stop, drain_timeout_s: float) -> None:
    """End the process if it still runs after the drain time-out plus DRAIN_GRACE_S."""

    def end() -> None:
        log.error("the drain is overdue: ending this process")
        logging.shutdown()
        os._exit(Exit.RESTART)

    def begin() -> None:
        timer = threading.Timer(drain_timeout_s + DRAIN_GRACE_S, end)
        timer.daemon = True
        timer.start()

    stop.call(begin)


def run_main(main: Callable[[], int]) -> int:
    """Run a command or service and return its exit code; usage errors print no stack trace."""
    try:
        return main()
    except SettingsError as error:
        for fault in error.faults:
            _say(f"settings: {fault}")
        return Exit.USAGE_ERROR
    except (UsageError, FailpointError) as error:
        _say(str(error))
        return Exit.USAGE_ERROR
    except Unavailable as error:
        _say(str(error))
        return Exit.PART_UNAVAILABLE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the process that reads the output, such as `head`, has ended
        sys.stderr.close()
        return 128 + signal.SIGPIPE
    except OutputLost as error:
        return give_up_output(error)


def _say(text: str) -> None:
    """Print a sentence on standard error, because logging may not be set up yet."""
    print(f"sluice: {text}", file=sys.stderr)  # noqa: T201
