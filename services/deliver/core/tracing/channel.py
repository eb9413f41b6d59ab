"""What one process has to show of one trace, until it is written. Pure.

Owns: how much is shown. At most DIALOGS_PER_S dialogs begin per second, the others are counted as
skipped; at most MAX_QUEUED lines wait to be written, the next ones are dropped. Each line has a
number, those that are dropped too, so a reader sees how many are missing. Each trace has its own
channel: a busy domain takes nothing from the trace of one message.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from shared.topics.traces import TraceLine

DIALOGS_PER_S: Final = 20
MAX_QUEUED: Final = 1_000
# Lines that are written at a time.
MAX_WRITTEN: Final = 200


class DialogInfo(Struct, frozen=True):
    """The connection of a dialog, as far as it is known."""

    dialog: int
    mail_id: str = ""
    source: str = ""
    server: str = ""
    tls: str = ""


NO_DIALOG: Final = DialogInfo(0)


class Channel:
    """The lines of one trace. `now` is monotonic seconds."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._queue: deque[TraceLine] = deque()
        self._number = 0
        self._written = 0
        self._skipped = 0
        self._skipped_written = 0
        self._allowance = float(DIALOGS_PER_S)
        self._allowed_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether everything was written, or given up."""
        has_gap = self._written < self._number or self._skipped_written < self._skipped
        return not (self._queue or has_gap)

    def try_begin(self, now: float) -> bool:
        """Take the allowance for a dialog; otherwise count it as skipped and return False."""
        passed_s = max(0.0, now - self._allowed_at)
        self._allowance = min(DIALOGS_PER_S, self._allowance + passed_s * DIALOGS_PER_S)
        self._allowed_at = now
        if self._allowance < 1:
            self._skipped += 1
            return False
        self._allowance -= 1
        return True

    def add(self, info: DialogInfo, kind: str, text: str, at_ms: int) -> None:
        """Add a line, or drop it if too many wait."""
        self._number += 1
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(self._line(info, kind, text, at_ms))

    def take(self, now_ms: int) -> list[TraceLine]:
        """Take the next lines to write; what was dropped or skipped ends them with a number.

        Whatever is taken counts as written: lines that cannot be written are missing.
        """
        queue = self._queue
        taken = [queue.popleft() for _ in range(min(len(queue), MAX_WRITTEN))]
        if taken:
            self._written = taken[-1].number
            self._skipped_written = max(self._skipped_written, taken[-1].skipped)
        if not queue and not self.is_empty:
            # This line is not counted: its number is the number of the line before.
            taken.append(self._line(NO_DIALOG, "", "", now_ms))
            self._written, self._skipped_written = self._number, self._skipped
        return taken

    def lost(self) -> None:
        """Note that the lines taken last were not written; the next lines then say so."""
        self._written = min(self._written, self._number - 1)

    def _line(self, info: DialogInfo, kind: str, text: str, at_ms: int) -> TraceLine:
        return TraceLine(
            self._worker,
            self._number,
            at_ms,
            kind,
            text,
            info.dialog,
            info.mail_id,
            info.source,
            info.server,
            info.tls,
            self._skipped,
        )
