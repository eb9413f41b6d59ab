"""The progress bar of a command: on standard error, and only at a terminal.

Elsewhere (a log, a pipe, cron) nothing of it is written, not even an empty line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar that is removed when the block ends."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar
