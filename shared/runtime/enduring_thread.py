"""A thread that follows something outside the process for as long as the process lives.

Its task is begun again after every fault: an expected one is reported, any other is logged with its
trace and reported. Owns: the thread. Does not own: what a fault means to the process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

RETRY_S: Final = 0.5
CLOSE_TIMEOUT_S: Final = 10.0
SEE_THE_LOG: Final = "see the log"


class EnduringThread:
    """Runs `task` until close(); the task ends when `is_closing`.

    `failed` gets the reason of each fault, in the thread; `ended` runs there after the last task.
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
        """Whether the task shall end."""
        return self._closing.is_set()

    def start(self) -> None:
        """Begin; return at once."""
        self._thread.start()

    def close(self) -> None:
        """End the task, and wait for it for a while."""
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
