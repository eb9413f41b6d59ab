"""Finds messages, among millions, that have more than one final event or first dispatch.

Both `sluice audit` and `sluice billing recount` use this module, so both commands report the same
faults. Does not own: the conservation equation (conservation.py).

The search takes bounded memory: 16-byte ids are divided into 256 buckets by their last byte. The
last byte of a mail id is part of a hash or is random, so all buckets get about the same number of
ids. At most MEMORY_BYTES of ids are kept in memory. Beyond this limit, the ids of each bucket are
appended to a file of the bucket in a temporary folder, 16 bytes per id. A search loads one bucket
at a time and needs about 100 bytes of memory per id in this bucket. So 100 million ids take 1.6 GB
on disk, and 40 MB of memory during the search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from shared.audit.conservation import Doubles
from shared.topics.records import FINAL, Event

ID_BYTES: Final = 16
BUCKETS: Final = 256
MEMORY_BYTES: Final = 64 * 1024 * 1024


class IdBuckets:
    """A collection of ids of 16 bytes each, without order. close() deletes its files."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES, more_bytes: int = 0) -> None:
        """`more_bytes` is the number of bytes that follow each id and describe the id."""
        self._width = ID_BYTES + more_bytes
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self._held = 0
        self._limit = memory_bytes
        self._folder: TemporaryDirectory[str] | None = None

    def add(self, mail_id: bytes) -> None:
        self._buckets[mail_id[ID_BYTES - 1]] += mail_id
        self._held += self._width
        if self._held >= self._limit:
            self._spill()

    def doubled(self) -> Iterator[tuple[bytes, int]]:
        """Yield each id that was added more than once, with its count."""
        for number in range(BUCKETS):
            found = self.bucket(number)
            if len(set(found)) < len(found):
                yield from ((each, n) for each, n in Counter(found).items() if n > 1)

    def bucket(self, number: int) -> list[bytes]:
        """Return the ids of bucket `number` (below BUCKETS); equal ids are in the same bucket."""
        data = self._load(number)
        return [data[at : at + self._width] for at in range(0, len(data), self._width)]

    def close(self) -> None:
        """Delete the temporary files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _path(self, number: int) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="sluice-audit-")
        return Path(self._folder.name) / f"{number:03d}"

    def _spill(self) -> None:
        for number, bucket in enumerate(self._buckets):
            if bucket:
                with self._path(number).open("ab") as file:
                    file.write(bucket)
                bucket.clear()
        self._held = 0

    def _load(self, number: int) -> bytes:
        held = bytes(self._buckets[number])
        if self._folder is None or not self._path(number).exists():
            return held
        return self._path(number).read_bytes() + held


class DoubleSearch:
    """Collects the mail ids of final events and first dispatches. The caller must close() it."""

    def __init__(self) -> None:
        self._finals = IdBuckets()
        self._dispatches = IdBuckets()

    def add(self, event: Event, mail_id: bytes) -> None:
        """Add an event with its mail id (16 bytes)."""
        if event.type in FINAL:
            self._finals.add(mail_id)
        if event.data.first_dispatch:
            self._dispatches.add(mail_id)

    def unfinished(self, received: IdBuckets) -> Iterator[bytes]:
        """Yield the ids of `received` that have no final event so far."""
        for number in range(BUCKETS):
            finals = set(self._finals.bucket(number))
            yield from (each for each in received.bucket(number) if each not in finals)

    def found(self) -> Doubles:
        """Return the mail ids that have been added more than once so far."""
        return Doubles(dict(self._finals.doubled()), dict(self._dispatches.doubled()))

    def close(self) -> None:
        """Delete the temporary files."""
        self._finals.close()
        self._dispatches.close()
