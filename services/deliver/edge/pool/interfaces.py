"""The questions of a pool to its user: may a message be sent, and what does its end mean?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from services.deliver.core.attempt.results import (
    ConnectFault,
    ConnectionInfo,
    Outcome,
    TransactionResult,
)


class Permission(ABC):
    """The permission for one message. Any callable that returns a bool may be used instead."""

    @abstractmethod
    def __call__(self) -> bool:
        """Claim the message; return False if nothing may be sent."""

    @abstractmethod
    def prepare(self, ready: Callable[[bool], None]) -> bool:
        """Begin the steps that are needed before the claim; return False if none are needed.

        `ready` is called once they are done, in the event loop and not before this has returned:
        with False if the message must not be sent. A connection is kept for the message meanwhile.
        """


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
