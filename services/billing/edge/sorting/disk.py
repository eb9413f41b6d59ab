"""Temporary files of billing: made in TMPDIR, without a name, gone with the process.

On failure (the disk is full, the folder cannot be written): DiskUnavailable, which the services
report and try again, as with every other part that is unavailable.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.runtime.errors import Unavailable

_PREFIX: Final = "sluice-billing-"


class DiskUnavailable(Unavailable):
    """A temporary file cannot be written or read."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the errors of files and of SQLite into DiskUnavailable."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise DiskUnavailable(
            f"temporary files in {tempfile.gettempdir()} (TMPDIR): {type(error).__name__}: {error}"
        ) from error


class PartFile:
    """Keeps the parts of statements (core/closing/chain.py) in a file. Any thread may read."""

    def __init__(self) -> None:
        with disk_errors():
            handle, name = tempfile.mkstemp(prefix=_PREFIX)
            Path(name).unlink()
        self._handle = handle
        self._places: list[tuple[int, int]] = []
        self._end = 0
        weakref.finalize(self, os.close, handle)

    def add(self, part: bytes) -> int:
        """Keep a part; return its number. Raises DiskUnavailable."""
        begin = self._end
        with disk_errors():
            written = 0
            while written < len(part):
                written += os.pwrite(self._handle, part[written:], begin + written)
        self._end += len(part)
        self._places.append((begin, len(part)))
        return len(self._places) - 1

    def get(self, number: int) -> bytes:
        """The part with this number. Raises DiskUnavailable."""
        begin, size = self._places[number]
        found = b""
        with disk_errors():
            while len(found) < size:
                more = os.pread(self._handle, size - len(found), begin + len(found))
                if not more:
                    raise OSError(f"the file ends at {begin + len(found)}")
                found += more
        return found
