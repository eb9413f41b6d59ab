"""Mail ids of messages that came by SMTP: the time, and bytes of chance fetched many at a time.

A call of the system for each message would give up the interpreter to the threads that talk to
Kafka, in the middle of the loop's work, and wait for it again: 6 % of its time were seen there.
"""

from __future__ import annotations

import os
from typing import Final

from shared.topics import ids

_CHANCE_BYTES: Final = 10
_AT_A_TIME: Final = 256


class MailIds:
    """Makes mail ids. Used by one thread of one process."""

    def __init__(self) -> None:
        self._chance = b""
        self._at = 0

    def make(self, now_ms: int) -> str:
        """A new mail id of this moment."""
        at, self._at = self._at, self._at + _CHANCE_BYTES
        if self._at > len(self._chance):
            self._chance = os.urandom(_CHANCE_BYTES * _AT_A_TIME)
            at, self._at = 0, _CHANCE_BYTES
        return ids.make(now_ms, self._chance[at : self._at])
