"""The file of the keys that sign and verify return paths, reloaded when it changes.

Promises: a new file is in force for every message after the next refresh(), without a restart;
while the file cannot be read the last keys stay in force, and that is logged once per change. Owns:
the file. Does not own: its form and the keys (shared/mail/verp.py).
"""

from __future__ import annotations

import logging
from typing import Final

from shared.mail.verp import Keys, parse_keys
from shared.runtime.reloaded_file import FileForm, ReloadedFile
from shared.settings.sections import ReturnPathSettings

log = logging.getLogger(__name__)

# How often a service looks for a change.
REFRESH_S: Final = 1.0
_FORM: Final = FileForm("return_path.keys_file", "keys of return paths", 65_536, parse_keys)


class KeysFile:
    """The keys of one file."""

    def __init__(self, path: str) -> None:
        """Raises UsageError if the file holds no usable keys."""
        self._file: ReloadedFile[Keys] = ReloadedFile(path, _FORM)

    @property
    def keys(self) -> Keys:
        """The keys in force."""
        return self._file.value

    def refresh(self) -> None:
        """Load the file if it has changed; otherwise this costs one look at its times."""
        if self._file.refresh():
            log.info("keys of return paths reloaded", extra={"ids": str(self.keys.ids)})


def load_return_keys(settings: ReturnPathSettings) -> KeysFile | None:
    """Load the keys file of the settings; None if they name none. Raises UsageError."""
    return KeysFile(settings.keys_file) if settings.keys_file else None
