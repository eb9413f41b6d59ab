"""What a pool asks its user: whether a message may go out, and what the end of one means."""

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
    """The permission for one message. Any callable that returns a bool may stand in for one."""

    @abstractmethod
    def __call__(self) -> bool:
        """Take the message up; return False if nothing may be sent."""

    @abstractmethod
    def prepare(self, ready: Callable[[bool], None]) -> bool:
        """Begin what has to be done before the message is taken up; return False if nothing has.

        `ready` is called once that is done, in the event loop and not before this has returned:
        with False if the message must not be sent. A connection is kept for it meanwhile.
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
