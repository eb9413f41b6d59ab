"""The file of the keys that sign and verify return paths, reloaded when it changes.

Promises: a new file is in force for every message after the next refresh(), without a restart;
while the file cannot be read the last keys stay in force, and that is logged once per change. Owns:
the file. Does not own: its form and the keys (shared/mail/verp.py).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from shared.mail.verp import Keys, KeysFault, parse_keys
from shared.runtime.errors import UsageError
from shared.settings.sections import ReturnPathSettings

log = logging.getLogger(__name__)

# How often a service looks for a change.
REFRESH_S: Final = 1.0
_SETTING: Final = "return_path.keys_file"
_MAX_BYTES: Final = 65_536

_Stamp = tuple[int, int, int]


class KeysFile:
    """The keys of one file."""

    def __init__(self, path: str) -> None:
        """Raises UsageError if the file holds no usable keys."""
        self._path = Path(path)
        self._fault = ""
        try:
            self._stamp = self._look()
            self.keys = _parse(self._read())
        except (OSError, KeysFault) as error:
            raise UsageError(f"{_SETTING}: {self._path}: {_reason(error)}") from None

    def refresh(self) -> None:
        """Load the file if it has changed; otherwise this costs one look at its times."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            octets = self._read()
            # A file that was read is not read again before it changes, even if it is no good.
            self._stamp = stamp
            self.keys = _parse(octets)
        except (OSError, KeysFault) as error:
            self._report(_reason(error))
        else:
            self._fault = ""
            log.info("keys of return paths reloaded", extra={"ids": str(self.keys.ids)})

    def _report(self, reason: str) -> None:
        if reason != self._fault:
            log.error(
                "the changed keys of return paths cannot be used; the last ones stay in force",
                extra={"file": str(self._path), "reason": reason},
            )
        self._fault = reason

    def _look(self) -> _Stamp:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)


def _parse(octets: bytes) -> Keys:
    if len(octets) > _MAX_BYTES:
        raise KeysFault(f"it is larger than {_MAX_BYTES} bytes")
    try:
        return parse_keys(octets.decode("utf-8"))
    except UnicodeDecodeError:
        raise KeysFault("it is not UTF-8 text") from None


def load_return_keys(settings: ReturnPathSettings) -> KeysFile | None:
    """Load the keys file of the settings; None if they name none. Raises UsageError."""
    return KeysFile(settings.keys_file) if settings.keys_file else None


def _reason(error: OSError | KeysFault) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
