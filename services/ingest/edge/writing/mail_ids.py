"""Creates mail ids for messages that came by SMTP. One system call fetches the random bytes for
many ids.

If there were one system call per message, the event loop would release the interpreter lock for
each message, so the threads that write to Kafka would get the lock, and the loop would wait for the
lock again. These waits took 6 % of the loop's time.
"""

from __future__ import annotations

import os
from typing import Final

from shared.topics import ids

_AT_A_TIME: Final = 256 * ids.RANDOM_CHARS


class MailIds:
    """Creates mail ids. Used by one thread of one process."""

    def __init__(self) -> None:
        self._letters = ""
        self._at = 0
        self._now_ms = -1
        self._time = ""

    def make(self, now_ms: int) -> str:
        """Create a mail id for this time."""
        at, self._at = self._at, self._at + ids.RANDOM_CHARS
        if self._at > len(self._letters):
            self._letters = ids.random_part(os.urandom(_AT_A_TIME))
            at, self._at = 0, ids.RANDOM_CHARS
        if now_ms != self._now_ms:
            self._now_ms, self._time = now_ms, ids.time_letters(now_ms)
        return self._time + self._letters[at : self._at]
