"""Finds mails that have more than one final event or first dispatch, among very many.

Used by `sluice audit` and `sluice billing recount`, so that both see and name the same faults.
Does not own: the search in bounded memory (id_buckets.py), what makes books balance
(conservation.py).
"""

from __future__ import annotations

from shared.audit.conservation import Doubles
from shared.audit.id_buckets import IdBuckets
from shared.topics.records import FINAL, Event


class DoubleSearch:
    """Collects the mail ids of final events and first dispatches. Close it."""

    def __init__(self) -> None:
        self._finals = IdBuckets()
        self._dispatches = IdBuckets()

    def add(self, event: Event, mail_id: bytes) -> None:
        """Note an event under its mail id (16 bytes)."""
        if event.type in FINAL:
            self._finals.add(mail_id)
        if event.data.first_dispatch:
            self._dispatches.add(mail_id)

    def found(self) -> Doubles:
        """Those that occur more than once so far."""
        return Doubles(dict(self._finals.doubled()), dict(self._dispatches.doubled()))

    def close(self) -> None:
        """Remove what was put on disk."""
        self._finals.close()
        self._dispatches.close()
