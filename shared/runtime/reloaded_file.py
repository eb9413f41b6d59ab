"""A file of an operator that is loaded again when it changes.

Promises: changed content is in force after the next refresh(), without a restart; while the file
cannot be read or used, the last content stays in force, and that is logged once per fault. Owns:
the file. Does not own: its form, when to look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct

from shared.runtime.errors import UsageError

log = logging.getLogger(__name__)

T = TypeVar("T")
_Stamp = tuple[int, int, int]


class FileForm(Struct, Generic[T], frozen=True):
    """What such a file holds.

    `setting` names the file, `content` says what it holds. `parse` raises ValueError with what is
    wrong with the text.
    """

    setting: str
    content: str
    max_bytes: int
    parse: Callable[[str], T]


class ReloadedFile(Generic[T]):
    """One file; `value` is its last content that could be used."""

    def __init__(self, path: str, form: FileForm[T]) -> None:
        """Raises UsageError if the file cannot be used."""
        self.path = Path(path)
        self._form = form
        self._fault = ""
        try:
            self._stamp: _Stamp | None = self._look()
            self.value = self._load()
        except (OSError, ValueError) as error:
            raise UsageError(f"{form.setting}: {path}: {_reason(error)}") from None

    def refresh(self) -> bool:
        """Load the file if it has changed, which else costs one look; return whether it was loaded.

        May be called in another thread.
        """
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            # A file that was read is not read again before it changes, even if it is no good.
            self._stamp = stamp
            self.value = self._load()
        except OSError as error:
            self._stamp = None  # it says nothing about the file: load it again
            self._report(_reason(error))
            return False
        except ValueError as error:
            self._report(_reason(error))
            return False
        self._fault = ""
        return True

    def _report(self, reason: str) -> None:
        if reason != self._fault:
            log.error(
                "the changed %s cannot be used; the last ones stay in force",
                self._form.content,
                extra={"file": str(self.path), "reason": reason},
            )
        self._fault = reason

    def _look(self) -> _Stamp:
        stat = self.path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _load(self) -> T:
        most = self._form.max_bytes
        with self.path.open("rb") as file:
            octets = file.read(most + 1)
        if len(octets) > most:
            raise ValueError(f"it is larger than {most} bytes")
        try:
            text = octets.decode()
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None
        return self._form.parse(text)


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
