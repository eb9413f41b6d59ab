"""Stores the traced lines of dialogs only in Redis, in one stream per trace.

Nothing depends on these streams. Owns: the keys and the bounds. Does not own: the form of a line
(shared/topics/traces.py), its text (services/deliver/core/tracing). A stream keeps about the last
MAX_KEPT lines, and Redis deletes the stream KEPT_S after the last line was written.

Each process numbers its lines of a trace (`number`), including lines that the process had to drop.
So a gap in the numbers shows how many lines are missing. The process dropped the missing lines, or
Redis trimmed the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import redis
import redis.asyncio

from shared.store.client import store_errors
from shared.topics.traces import TraceLine

PREFIX: Final = "{sluice:traces}:"
# The number of lines that are kept per trace. A line has at most 1.3 KB, usually 300 bytes.
MAX_KEPT: Final = 2_000
# The time is longer than a trace lasts, because a reader may start late.
KEPT_S: Final = 15 * 60
_FIELD: Final = "line"
_MAX_READ: Final = 500


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(TraceLine)


async def append_lines(
    client: redis.asyncio.Redis, trace_id: str, lines: Sequence[TraceLine]
) -> None:
    """Append lines to the stream of a trace.

    If the method raises StoreUnavailable, the lines may have been written nevertheless.
    """
    key = PREFIX + trace_id
    with store_errors():
        pipeline = client.pipeline(transaction=True)
        for line in lines:
            fields: Any = {_FIELD: _encoder.encode(line)}
            pipeline.xadd(key, fields, maxlen=MAX_KEPT, approximate=True)
        pipeline.expire(key, KEPT_S)
        await pipeline.execute()


class TraceReader:
    """Reads the stream of one trace from its beginning."""

    def __init__(self, client: redis.Redis, trace_id: str) -> None:
        self._client = client
        self._key = PREFIX + trace_id
        self._last = "0-0"
        # The number of entries that are not lines of a dialog; another program wrote them.
        self.unreadable = 0

    def read(self, wait_s: float) -> list[TraceLine]:
        """Return the next lines, after waiting for at most `wait_s`. Raises StoreUnavailable."""
        with store_errors():
            block_ms = max(1, int(wait_s * 1_000))
            found: Any = self._client.xread({self._key: self._last}, _MAX_READ, block_ms)
        return [line for _, entries in found or () for line in self._lines(entries)]

    def delete(self) -> None:
        """Delete the stream. Raises StoreUnavailable."""
        with store_errors():
            self._client.delete(self._key)

    def _lines(self, entries: Sequence[tuple[str, dict[str, str]]]) -> Iterator[TraceLine]:
        for entry_id, fields in entries:
            self._last = entry_id
            try:
                yield _decoder.decode(fields.get(_FIELD, ""))
            except (ValueError, RecursionError):  # raised by msgspec
                self.unreadable += 1
