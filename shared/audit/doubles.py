"""Finds messages with more than one final event or first dispatch, among very many.

Used by `sluice audit` and `sluice billing recount`, so that both find and report the same faults.
Does not own: the search in bounded memory (id_buckets.py), the conservation equation
(conservation.py).
"""

from __future__ import annotations

from shared.audit.conservation import Doubles
from shared.audit.id_buckets import IdBuckets
from shared.topics.records import FINAL, Event


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

    def found(self) -> Doubles:
        """Return the mail ids that occur more than once so far."""
        return Doubles(dict(self._finals.doubled()), dict(self._dispatches.doubled()))

    def close(self) -> None:
        """Delete the temporary files."""
        self._finals.close()
        self._dispatches.close()
