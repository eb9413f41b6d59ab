"""What commands write to a terminal beside their answer: texts from outside, and a progress bar.

The bar is on standard error, and only at a terminal: elsewhere (a log, a pipe, cron) nothing of it
is written, not even an empty line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


def visible(text: str) -> str:
    """Return the text on one line, with unprintable characters (ESC, newline, U+202E) escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def visible_names(names: Iterable[str]) -> str:
    """Return the names on one line, separated by commas; an empty one as two quotes."""
    return ", ".join(visible(each) or "''" for each in names)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar that is removed when the block ends."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar
