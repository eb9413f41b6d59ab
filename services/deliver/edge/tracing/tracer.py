"""Chooses the SMTP dialogs that operators want to see, and writes their lines to Redis.

Owns: the channels of this process, the numbers of its dialogs. Does not own: the traces
(edge/control/follower.py), the streams (shared/store/traces.py).

Guarantees: sending never waits for a trace. The event loop adds lines to a bounded queue, and a
separate task writes them with flush(). While Redis is unavailable or slow, lines are dropped. The
next line that is written contains the number of dropped lines. After a pause, a process writes the
lines that were queued before the pause. The process adds no line after the trace has expired. While
there is no trace, the only cost per message is one test of `is_active`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from services.deliver.core.tracing.dialog_text import SAID
from services.deliver.core.tracing.traces import NO_DIALOG, NO_TRACES, Channel, DialogInfo, Traces
from services.deliver.edge.pool.delivery import Delivery
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.tracing.dialog import Dialog
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable
from shared.topics.traces import Trace, TraceLine

log = logging.getLogger(__name__)

FLUSH_S: Final = 0.2
# The first line that each process adds to a trace. Without this line, an empty trace could mean
# that no process has noticed the trace.
BEGUN: Final = "tracing"

Append = Callable[[str, Sequence[TraceLine]], Awaitable[None]]


class TraceSource(Protocol):
    """The traces that the follower of mail.control knows at present."""

    traces: Traces


class NoSource:
    """A source without traces."""

    traces = NO_TRACES


async def write_nothing(trace_id: str, lines: Sequence[TraceLine]) -> None:
    """Write no line, because nothing is traced."""


class Tracer:
    """The traced dialogs of one process. Use it in one event loop."""

    def __init__(self, source: TraceSource, append: Append, clock: Clock, worker: str) -> None:
        self._source = source
        self._append = append
        self._clock = clock
        self._worker = worker
        self._channels: dict[str, Channel] = {}
        self._dialogs = 0
        # True if any trace is in force. flush() sets this flag.
        self.is_active = False

    def transaction(self, delivery: Delivery, connection: SmtpConnection) -> Dialog | None:
        """Return the dialog of a transaction, or None if the transaction is not traced."""
        found = self._source.traces.find(delivery.mail_id, delivery.recipient, self._clock.now_ms())
        return self._dialog(found, delivery.mail_id, connection) if found else None

    def opening(self, waiting: Iterable[Delivery]) -> Dialog | None:
        """Return the dialog of a connection that is opened for these messages.

        The result is None if none of these messages is traced.
        """
        now_ms = self._clock.now_ms()
        found: dict[str, Trace] = {}
        mail_id = ""
        for delivery in waiting:
            for trace in self._source.traces.find(delivery.mail_id, delivery.recipient, now_ms):
                mail_id = mail_id or delivery.mail_id
                found[trace.trace_id] = trace
        return self._dialog(list(found.values()), mail_id, None) if found else None

    def _dialog(
        self, traces: Sequence[Trace], mail_id: str, connection: SmtpConnection | None
    ) -> Dialog | None:
        now = self._clock.monotonic()
        channels = [self._channel(trace) for trace in traces]
        admitted = [channel for channel in channels if channel.try_begin(now)]
        if not admitted:
            return None
        self._dialogs += 1
        info = DialogInfo(self._dialogs, mail_id)
        if connection is not None:
            info = DialogInfo(
                self._dialogs, mail_id, connection.source, connection.server, connection.tls
            )
        return Dialog(admitted, info, self._clock.now_ms)

    def _channel(self, trace: Trace) -> Channel:
        found = self._channels.get(trace.trace_id)
        if found is None:
            found = self._channels[trace.trace_id] = Channel(self._worker)
            found.add(NO_DIALOG, SAID, BEGUN, self._clock.now_ms())
        return found

    async def flush(self) -> None:
        """Begin and end traces, and write the queued lines. If a write fails, drop its lines."""
        traces = self._source.traces
        in_force = traces.in_force(self._clock.now_ms()) if traces.is_any else []
        self.is_active = bool(in_force)
        for trace in in_force:
            self._channel(trace)
        alive = {trace.trace_id for trace in in_force}
        for trace_id, channel in list(self._channels.items()):
            is_written = await self._write(trace_id, channel)
            # Lines that cannot be written before their trace ends are dropped.
            if trace_id not in alive and (channel.is_empty or not is_written):
                del self._channels[trace_id]

    async def _write(self, trace_id: str, channel: Channel) -> bool:
        lines = channel.take(self._clock.now_ms())
        try:
            if lines:
                await self._append(trace_id, lines)
        except Unavailable as error:
            channel.lost()
            log.info("lines of a trace are dropped", extra={"reason": str(error)})
            return False
        return True


def no_tracer(clock: Clock) -> Tracer:
    """Return the tracer of a process in which nothing is traced."""
    return Tracer(NoSource(), write_nothing, clock, "")
