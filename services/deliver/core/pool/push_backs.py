"""Tells which ends of transactions mean that the site wants fewer connections. Pure.

A 421 says so, and a connection that breaks before a reply to MAIL. One that breaks later may be due
to the message, as with a content filter that hangs up: it counts only if most transactions of late
ended so. One client's mail must not slow down the mail of the others.
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.attempt.results import Broken, TransactionResult, is_push_back

# The weight of one transaction in the share of those that broke, and the share that counts: three
# in a row are above it.
WEIGHT: Final = 0.25
MOST: Final = 0.5


class PushBacks:
    """The recent ends of one site's transactions."""

    def __init__(self) -> None:
        self._broken = 0.0

    def is_one(self, result: TransactionResult) -> bool:
        """Whether this end, the latest one, is a push back of the site."""
        if not is_push_back(result):
            self._broken *= 1 - WEIGHT
            return False
        if isinstance(result, Broken) and (result.answered or result.in_doubt):
            self._broken += WEIGHT * (1 - self._broken)
            return self._broken > MOST
        return True
