"""What one worker has spent of a rolling window, by slot, for a store that does not know. Pure.

A store that was emptied, or could not be asked, is sent what each live worker has spent. It is
reported again until the store has answered: counted twice is the safe side.
"""

from __future__ import annotations

from typing import Final

SLOTS: Final = 60


class WindowRecord:
    """The record of one window."""

    __slots__ = ("_locally", "_spent", "_to_report")

    def __init__(self) -> None:
        self._spent: dict[int, float] = {}
        # The amount spent without the store since the last report, and the amounts to report.
        self._locally = 0.0
        self._to_report: dict[int, float] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be remembered."""
        return not (self._spent or self._locally or self._to_report)

    @property
    def has_unreported(self) -> bool:
        """Whether something was spent that the store does not count."""
        return bool(self._locally or self._to_report)

    def spend(self, slot: int, amount: float) -> None:
        """Note an amount spent from a lease that the store counts in this slot."""
        self._spent[slot] = self._spent.get(slot, 0.0) + amount

    def spend_locally(self, amount: float) -> None:
        """Note an amount spent without the store."""
        self._locally += amount

    def forget_before(self, slot: int) -> None:
        """The window has reached this slot."""
        for old in [each for each in self._spent if each < slot - SLOTS]:
            del self._spent[old]

    def report_all(self) -> None:
        """The store was emptied."""
        self._to_report = dict(self._spent)

    def unreported(self, slot: int) -> dict[int, float]:
        """Return the amounts to report by slot; those spent without the store are in `slot`."""
        if self._locally:
            amount, self._locally = self._locally, 0.0
            self.spend(slot, amount)
            self._to_report[slot] = self._to_report.get(slot, 0.0) + amount
        return dict(self._to_report)

    def reported(self) -> None:
        """The store has taken it."""
        self._to_report.clear()
