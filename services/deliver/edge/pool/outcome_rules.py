"""What a pool asks about the ends of its transactions."""

from __future__ import annotations

from typing import Protocol

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.attempt.results import ConnectFault, ConnectionInfo, TransactionResult


class OutcomeRules(Protocol):
    """Maps the end of a transaction, or of an attempt to connect, to the message's outcome."""

    def transaction(
        self, result: TransactionResult, was_answered: bool, where: ConnectionInfo
    ) -> Outcome:
        """The outcome of a transaction."""
        ...

    def no_connection(self, fault: ConnectFault, was_answered: bool, site: str) -> Outcome:
        """The outcome of a message that got no connection."""
        ...
