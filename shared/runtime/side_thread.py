"""A second worker of a process, in a thread beside the first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shared.runtime.lifecycle import Stop
from shared.runtime.service_cli import Running

_JOIN_S: Final = 15.0


@contextmanager
def in_side_thread(
    name: str, what: str, work: Callable[[Stop], None], running: Running
) -> Iterator[None]:
    """Run `work` while the block runs; if it raises, the whole process stops: "`what` failed"."""
    stop = Stop()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            running.stop.set(f"{what} failed: {error}")
            raise

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_JOIN_S)
