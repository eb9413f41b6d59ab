"""Turns SIGINT, SIGTERM and SIGHUP into one exception in the main thread.

Only the first one interrupts; what follows finds the command already ending in good order.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAskedError(BaseException):
    """Somebody asked this command to end."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the first of these signals raises StopAskedError; further ones do nothing."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise StopAskedError

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
