"""The memory of this process while something runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ONE_MIB: Final = 1024 * 1024
_EVERY_S: Final = 0.02


class Watch:
    """The memory in MiB: at first, and the most so far."""

    def __init__(self) -> None:
        self.first = self.most = memory()

    def look(self) -> None:
        """Look again."""
        self.most = max(self.most, memory())


@contextmanager
def watching() -> Iterator[Watch]:
    """Look many times a second, until the end."""
    watch, ended = Watch(), threading.Event()

    def run() -> None:
        while not ended.wait(_EVERY_S):
            watch.look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def memory() -> int:
    """The resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // ONE_MIB
