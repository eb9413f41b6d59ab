"""Reads the windows of all clients from mail.forwarding, to the end of what was written.

The windows were written in the transactions that committed the offsets of mail.returned. So a
process that has got partitions, and has read their committed offsets, knows that no transaction on
them is open: everything about them is before the end that it then asks for. Owns: the readers.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Final

from services.validate.core.returns.windows import PREFIX, Windows, decode_window
from shared.runtime.clock import Clock, Deadline
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.stream.relay import NotReady
from shared.topics import names

log = logging.getLogger(__name__)

PARTITION: Final = 0
POLL_MS: Final = 100
# An open transaction of another service's process is ended after 20 seconds.
READ_TIMEOUT_S: Final = 30.0


class WindowLog:
    """The windows on a topic."""

    def __init__(self, options: ClientOptions, clock: Clock, topic: str = names.FORWARDING) -> None:
        self._options = options
        self._clock = clock
        self._topic = topic

    def read(self) -> Windows:
        """Return the present windows by key. Raises NotReady, KafkaError."""
        with closing(LogReader(self._options, self._topic, is_committed=False)) as written:
            end = written.ends([PARTITION])[PARTITION]
        with closing(LogReader(self._options, self._topic)) as reader:
            found = self._read(reader, end)
        return found

    def _read(self, reader: LogReader, end: int) -> Windows:
        found: Windows = {}
        deadline = Deadline(READ_TIMEOUT_S, self._clock)
        reader.read_from(reader.begins([PARTITION]))
        while not reader.has_reached({PARTITION: end}):
            if deadline.is_over():
                raise NotReady(f"{self._topic} was not read to its end in {READ_TIMEOUT_S:g} s")
            for record in reader.poll(POLL_MS).get(PARTITION, ()):
                if isinstance(record, UndecodableRecord):
                    continue  # the fetcher has logged it
                key = record.key or b""
                if not key.startswith(PREFIX.encode()):
                    continue
                found.pop(key, None)
                if record.value is None:
                    continue
                try:
                    found[key] = decode_window(key, record.value)
                except ValueError as error:
                    log.error("%s@%d: no window: %s", self._topic, record.offset, error)
        return found
