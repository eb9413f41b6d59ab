"""Whether the operators' orders that a process knows are recent enough to send under them.

Nothing begins before the orders have been read once: mail that an operator stopped would go out.
Later, nothing begins while the last confirmation is older than FRESH_S, so a process that was
paused does not send what was cancelled meanwhile; but after GIVE_UP_TRIES failed tries mail goes on
under the orders known before: a broker that is unavailable for one small topic must not stop all
mail.
"""

from __future__ import annotations

from typing import Final

FRESH_S: Final = 5.0
# Counted in tries and not by the clock: a pause of the process is no fault of Kafka.
GIVE_UP_TRIES: Final = 4


class Freshness:
    """When the orders were last read, and how often reading failed. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._confirmed_at: float | None = None
        self._failed_tries = 0

    def confirm(self, at: float) -> None:
        """All orders that were there at this time are known."""
        self._confirmed_at = at
        self._failed_tries = 0

    def count_failure(self) -> None:
        """A try to read the orders has failed."""
        self._failed_tries += 1

    @property
    def was_read(self) -> bool:
        """Whether the orders have been read once."""
        return self._confirmed_at is not None

    def is_current(self, at: float) -> bool:
        """Whether a message may begin."""
        if self._confirmed_at is None:
            return False
        return at - self._confirmed_at <= FRESH_S or self._failed_tries >= GIVE_UP_TRIES
