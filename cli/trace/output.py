"""Prints the lines of a trace, and finds out which lines are missing.

The lines in Redis come from other processes, so control characters are also removed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cli.events.output import at
from shared.plurals import counted
from shared.topics.traces import TraceLine

# The printer remembers at most this many dialogs that it has described. A later line may continue
# such a dialog.
MAX_DIALOGS: Final = 10_000


class Missing:
    """Counts the lines that a reader has missed; each process numbers its lines."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._skipped: dict[str, int] = {}

    def new(self, line: TraceLine) -> list[str]:
        """Return the remarks about missing lines. These remarks are printed before this line."""
        said = []
        before = self._numbers.get(line.worker, 0)
        is_mark = not line.kind
        if line.number < before or (line.number == before and not is_mark):
            before = 0  # Another process with this name has started.
            self._skipped.pop(line.worker, None)
        self._numbers[line.worker] = line.number
        lost = line.number - before - (not is_mark)
        if lost > 0:
            said.append(f"{line.worker}: {counted(lost, 'line')} {_were(lost)} dropped")
        skipped = line.skipped - self._skipped.get(line.worker, 0)
        self._skipped[line.worker] = line.skipped
        if skipped > 0:
            said.append(
                f"{line.worker}: {counted(skipped, 'dialog')} {_were(skipped)} not shown, because"
                " too many began in one second"
            )
        return said


class Printer:
    """Formats lines for people; the first line of a dialog describes the dialog."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[str, ...]] = {}

    def lines(self, line: TraceLine) -> Iterator[str]:
        """Yield the lines to print for one line of a trace."""
        who = f"{line.worker}/{line.dialog}" if line.dialog else line.worker
        about = (line.mail_id, line.source, line.server, line.tls)
        key = line.worker, line.dialog
        if line.dialog and self._known.get(key) != about:
            if len(self._known) >= MAX_DIALOGS:
                self._known.clear()  # The next lines describe the dialogs again.
            self._known[key] = about
            yield printable(f"{_at(line)}  {who}  = {_about(line)}")
        yield printable(f"{_at(line)}  {who}  {line.kind} {line.text}")


def printable(text: str) -> str:
    """Return a text as one line without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)


def _about(line: TraceLine) -> str:
    source = f"from {line.source}" if line.source else ""
    server = f"to {line.server}" if line.server else ""
    tls = line.tls or ("no TLS" if line.server else "")
    return "  ".join(filter(None, (line.mail_id, source, server, tls)))


def _at(line: TraceLine) -> str:
    return at(line.at_ms)


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
