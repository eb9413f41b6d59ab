"""The DKIM keys in force, followed in their folder and file without a restart.

Promises: changed files are in force a few seconds later; while they cannot be used, the last keys
stay in force, and that is logged once per fault. The files are read outside the event loop; the
signer sees the old keys or all new ones. Does not own: when to look (app.py), the files
(shared/mailauth/dkim_keys), which key signs what (table.py there).
"""

from __future__ import annotations

import logging
from typing import Final

from shared.mailauth.dkim_keys.folder import KeyFault, KeyFolder, PrivateKey, algorithm_of, load_key
from shared.mailauth.dkim_keys.table import Key, KeyEntry, KeyIndex
from shared.runtime.errors import UsageError

log = logging.getLogger(__name__)

# A look costs one stat per key file: 20 ms for 10,000, outside the loop.
LOOK_S: Final = 5.0


class KeyFollower:
    """The keys of a folder; a domain without one there is signed with `deliver.dkim_key_file`."""

    def __init__(self, folder: str, key_file: str = "", selector: str = "") -> None:
        """Raises UsageError if a file that is named holds no usable key."""
        self._folder = KeyFolder(folder) if folder else None
        self._common: tuple[Key[PrivateKey], ...] = ()
        self._fault = ""
        if key_file:
            try:
                self._common = (_common_key(key_file, selector),)
            except KeyFault as error:
                raise UsageError(f"deliver.dkim_key_file: {error}") from None
        try:
            self.index = self._load()
        except KeyFault as error:
            raise UsageError(f"deliver.dkim_keys: {error}") from None

    def _load(self) -> KeyIndex[PrivateKey]:
        keys = self._folder.load() if self._folder is not None else []
        return KeyIndex([*self._common, *keys])

    def refresh(self) -> None:
        """Load the folder if it has changed. May be called in another thread."""
        if self._folder is None or not self._folder.has_changed():
            return
        try:
            self.index = self._load()
        except KeyFault as error:
            self._report(str(error))
        else:
            self._fault = ""
            log.info("DKIM keys reloaded", extra={"folder": str(self._folder.path)})

    def _report(self, reason: str) -> None:
        if reason != self._fault:
            log.error(
                "the changed DKIM keys cannot be used; the last ones stay in force",
                extra={"reason": reason},
            )
        self._fault = reason


def _common_key(key_file: str, selector: str) -> Key[PrivateKey]:
    key = load_key(key_file)
    return Key(KeyEntry(selector, "-"), algorithm_of(key), key)
