"""Finds ids that occur more than once among very many, in bounded memory.

16-byte ids fall into 256 buckets by their last byte (a mail id's is hashed, so they fill
evenly). Up to MEMORY_BYTES are held; beyond that each bucket is appended to a file of its
own in a temporary folder, 16 bytes an id. Searching loads one bucket at a time, about 100
bytes for each of its ids: 100 million ids are 1.6 GB on disk and 40 MB while searching.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ID_BYTES: Final = 16
BUCKETS: Final = 256
MEMORY_BYTES: Final = 64 * 1024 * 1024


class IdBuckets:
    """Ids, each 16 bytes, in no order. close() removes what was put on disk."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self._held = 0
        self._limit = memory_bytes
        self._folder: TemporaryDirectory[str] | None = None

    def add(self, mail_id: bytes) -> None:
        """Add one id."""
        self._buckets[mail_id[-1]] += mail_id
        self._held += ID_BYTES
        if self._held >= self._limit:
            self._spill()

    def doubled(self) -> Iterator[tuple[bytes, int]]:
        """Each id that was added more than once, and how often."""
        for number in range(BUCKETS):
            data = self._load(number)
            found = [data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES)]
            if len(set(found)) < len(found):
                yield from ((each, n) for each, n in Counter(found).items() if n > 1)

    def close(self) -> None:
        """Remove what was put on disk."""
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
