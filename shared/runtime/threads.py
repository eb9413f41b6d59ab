"""Runs threads beside the main work of a process.

EnduringThread runs a task for the whole life of the process, for example to follow a topic. After
every fault the task starts again. Each fault is reported, and an unexpected fault is logged with
its stack trace. in_side_thread() runs a second worker, whose failure stops the process. Does not
own: the consequences of a fault for the process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shared.runtime.lifecycle import Stop

log = logging.getLogger(__name__)

RETRY_S: Final = 0.5
CLOSE_TIMEOUT_S: Final = 10.0
SEE_THE_LOG: Final = "see the log"
_JOIN_S: Final = 15.0


class EnduringThread:
    """Runs `task` until close(). The task must return when is_closing() is true.

    The thread calls `failed` with the reason of each fault, and `ended` after the last run of
    `task`.
    """

    def __init__(
        self,
        name: str,
        task: Callable[[], None],
        *,
        expected: tuple[type[Exception], ...],
        failed: Callable[[str], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._task = task
        self._expected = expected
        self._failed = failed
        self._ended = ended
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_closing(self) -> bool:
        """Return whether the task must end."""
        return self._closing.is_set()

    def wait(self, timeout_s: float) -> None:
        """Wait for this time, or until the task must end."""
        self._closing.wait(timeout_s)

    def start(self) -> None:
        """Start the thread; return at once."""
        self._thread.start()

    def close(self) -> None:
        """Ask the task to end, and wait at most CLOSE_TIMEOUT_S until it has ended."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._task()
            except self._expected as error:
                self._failed(str(error))
            except Exception:
                # The thread must survive a fault of the client library.
                log.exception("%s failed; it is tried again", self._thread.name)
                self._failed(SEE_THE_LOG)
            self._closing.wait(RETRY_S)
        self._ended()


class RunsThread:
    """The base of classes that run in an EnduringThread. Their __init__ must set `_thread`."""

    _thread: EnduringThread

    def start(self) -> None:
        """Start the thread; return at once."""
        self._thread.start()

    def close(self) -> None:
        """Ask the task to end, and wait until it has ended."""
        self._thread.close()


@contextmanager
def in_side_thread(
    name: str, what: str, work: Callable[[Stop], None], process: Stop
) -> Iterator[None]:
    """Run `work` while the block runs. If `work` raises an error, stop `process`."""
    stop = Stop()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            process.set(f"{what} failed: {error}")
            raise

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_JOIN_S)
