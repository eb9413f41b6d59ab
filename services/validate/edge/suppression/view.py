"""Looks up the recipients of a batch in the view of suppressed recipients.

Owns: that a view that is incomplete or too old is never used. The answers come from a view that
holds every record that was on mail.suppressions FRESH_S before the look-up; NotReady otherwise, and
nothing is consumed. Does not own: the view (shared/store/suppressions.py), keeping it up to date
(follower.py).
"""

from __future__ import annotations

from typing import Final, Protocol

from services.validate.edge.suppression.follower import Confirmed
from shared.runtime.clock import Clock
from shared.store.client import StoreUnavailable
from shared.store.suppressions import SuppressionStore
from shared.stream.relay import NotReady
from shared.topics.suppressions import FIELD_BYTES

# An entry is in force for every message that is judged so long after it was committed.
FRESH_S: Final = 5.0
# A script blocks Redis for about 1 µs per field.
MAX_FIELDS: Final = 4_000


class Follower(Protocol):
    """Keeps the view up to date (follower.py)."""

    @property
    def store(self) -> SuppressionStore:
        """The view."""
        ...

    def confirmed(self) -> Confirmed | None:
        """Return the last proof that the view was complete; None if there is none."""
        ...

    def fault(self) -> str:
        """Why the view is not complete."""
        ...


class SuppressionView:
    """The view as one worker sees it."""

    def __init__(self, follower: Follower, clock: Clock) -> None:
        self._follower = follower
        self._clock = clock

    def find(self, fields: bytes) -> bytes:
        """Return the bits of the reasons by field. Raises NotReady."""
        proof = self._follower.confirmed()
        if proof is None or self._clock.monotonic() - proof.at > FRESH_S:
            raise NotReady(self._follower.fault() or "the suppressed recipients are being read")
        answers = []
        step = MAX_FIELDS * FIELD_BYTES
        for start in range(0, len(fields), step):
            try:
                found = self._follower.store.find(
                    proof.log, proof.end, fields[start : start + step]
                )
            except StoreUnavailable as error:
                raise NotReady(f"suppressed recipients: {error}") from error
            if found is None:
                raise NotReady("the suppressed recipients are being restored")
            answers.append(found)
        return b"".join(answers)
