"""Finds the traces that concern a message, and limits the output of each trace. Pure.

Each trace has its own channel, so the trace of a busy domain does not limit the trace of a single
message. In each channel, at most DIALOGS_PER_S dialogs begin per second; further dialogs are
counted as skipped. At most MAX_QUEUED lines wait to be written; further lines are dropped. Each
line has a number, even if it is dropped, so a reader sees how many lines are missing.

Does not own: the source of the traces (edge/control/follower.py), the text of a line
(dialog_text.py). Without traces, `Traces.is_any` is false, and a message costs only this check.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from shared.topics.traces import MAX_TRACES, Trace, TraceLine

DIALOGS_PER_S: Final = 20
MAX_QUEUED: Final = 1_000
# The most lines per write.
MAX_WRITTEN: Final = 200


class Traces:
    """An immutable index of the traces in force. After a change, a new index is made."""

    __slots__ = ("_all", "_by_domain", "_by_mail_id", "is_any")

    def __init__(self, traces: Iterable[Trace] = (), now_ms: int = 0) -> None:
        """Ignore traces that have ended at `now_ms`, and the newest traces beyond MAX_TRACES."""
        alive = (trace for trace in traces if now_ms < trace.expires_at_ms)
        self._all = tuple(sorted(alive, key=lambda each: (each.at_ms, each.trace_id)))[:MAX_TRACES]
        self._by_domain: dict[str, tuple[Trace, ...]] = {}
        self._by_mail_id: dict[str, tuple[Trace, ...]] = {}
        for trace in self._all:
            index, key = (
                (self._by_domain, trace.domain.lower())
                if trace.domain
                else (self._by_mail_id, trace.mail_id)
            )
            index[key] = (*index.get(key, ()), trace)
        self.is_any = bool(self._all)

    def in_force(self, now_ms: int) -> list[Trace]:
        """Return the traces that are in force."""
        return [trace for trace in self._all if trace.is_in_force(now_ms)]

    def find(self, mail_id: str, recipient: str, now_ms: int) -> list[Trace]:
        """Return the traces in force that concern this message."""
        domain = recipient.rpartition("@")[2].lower()
        found = (*self._by_domain.get(domain, ()), *self._by_mail_id.get(mail_id, ()))
        return [trace for trace in found if trace.is_in_force(now_ms)]


NO_TRACES: Final = Traces()


class DialogInfo(Struct, frozen=True):
    """The connection of a dialog, as far as it is known."""

    dialog: int
    mail_id: str = ""
    source: str = ""
    server: str = ""
    tls: str = ""


NO_DIALOG: Final = DialogInfo(0)


class Channel:
    """The lines of one trace. `now` is in monotonic seconds."""

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
        """Return True if neither a line nor a report of a gap waits to be written."""
        has_gap = self._written < self._number or self._skipped_written < self._skipped
        return not (self._queue or has_gap)

    def try_begin(self, now: float) -> bool:
        """Return True if a dialog may begin now; otherwise count it as skipped and return False."""
        passed_s = max(0.0, now - self._allowed_at)
        self._allowance = min(DIALOGS_PER_S, self._allowance + passed_s * DIALOGS_PER_S)
        self._allowed_at = now
        if self._allowance < 1:
            self._skipped += 1
            return False
        self._allowance -= 1
        return True

    def add(self, info: DialogInfo, kind: str, text: str, at_ms: int) -> None:
        """Add a line, or drop the line if too many lines wait."""
        self._number += 1
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(self._line(info, kind, text, at_ms))

    def take(self, now_ms: int) -> list[TraceLine]:
        """Take the next lines to write. A last line without text shows how many lines were lost.

        Lines that are taken count as written, unless lost() is called.
        """
        queue = self._queue
        taken = [queue.popleft() for _ in range(min(len(queue), MAX_WRITTEN))]
        if taken:
            self._written = taken[-1].number
            self._skipped_written = max(self._skipped_written, taken[-1].skipped)
        if not queue and not self.is_empty:
            # The line that reports a gap is not counted, so it has the number of the previous line.
            taken.append(self._line(NO_DIALOG, "", "", now_ms))
            self._written, self._skipped_written = self._number, self._skipped
        return taken

    def lost(self) -> None:
        """Record that the lines taken last were not written, so that a reader sees a gap."""
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
