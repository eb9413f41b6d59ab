"""Keeps a session open and runs its turns, for every service that reads from Kafka.

A session reads as a member of a consumer group. The loop replaces a session that lost its
membership or its client. After a lost transaction, the session continues. This module owns the
session. The caller decides when the loop ends, and how long to wait while Kafka is unavailable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from kafka.errors import FencedInstanceIdError, KafkaError
from msgspec import Struct

from shared.stream.consumer import MembershipLost
from shared.stream.transactions import TransactionLost

log = logging.getLogger(__name__)


class Session(Protocol):
    """Reads as one member of a group."""

    def close(self) -> None:
        """Leave the group."""
        ...


class LoopStatus(Struct):
    """The state of the loop: its reason for waiting, and its counts of losses and turns."""

    waiting_for: str = "start"
    lost_memberships: int = 0
    turns: int = 0


S = TypeVar("S", bound=Session)


class SessionLoop(Generic[S]):
    """Keeps a session open and runs its turns, in the caller's thread."""

    def __init__(
        self,
        service: str,
        open_session: Callable[[], S],
        turn: Callable[[S], None],
        status: LoopStatus,
    ) -> None:
        self._service = service
        self._open = open_session
        self._turn = turn
        self._status = status
        self.session: S | None = None

    def step(self) -> bool:
        """Run one turn, if necessary in a new session. Return False if Kafka is unavailable.

        Raises FencedInstanceIdError if another process uses this instance name.
        """
        self._status.turns += 1
        try:
            if self.session is None:
                self.session = self._open()
            self._turn(self.session)
        except FencedInstanceIdError:
            raise
        except MembershipLost as error:
            log.warning("%s: membership lost: %s", self._service, error)
            self._status.lost_memberships += 1
            self.close()
        except (TransactionLost, KafkaError) as error:
            self._status.waiting_for = f"Kafka: {error}"
            log.warning("%s: waiting for Kafka: %s", self._service, error)
            if not isinstance(error, TransactionLost):
                self.close()
            return False
        return True

    def close(self) -> None:
        """Close the session if a session is open."""
        session, self.session = self.session, None
        if session is not None:
            session.close()
