"""Asks Redis, before a message is written, whether it came before; and reserves its key.
Takes it back where the client is told that its message is not stored (withdrawals.py).

A client that did not hear our 250 hands its message in again. Reserved before it is written, the
key gives the second one the first one's mail id, whether the first was written or not; which of
the two goes on is decided by validate, which reads both in the order of their writing.

When Redis is away, slow or empty, every message is new here and the answer is not delayed by
more than TIMEOUT_S once in PAUSE_S: validate finds the repeats all the same, only the mail id of
the second 250 is then its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from shared.settings.sections import RedisSettings
from shared.store import client as store
from shared.store.client import StoreAwayError
from shared.store.submissions import Reservations
from shared.topics.records import Message
from shared.topics.submission_keys import NEW, Answer, Claim, claim_of

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 0.25
PAUSE_S: Final = 2.0
# Nothing has been read yet: any place will do, it is not sent.
_NO_PLACE: Final = 1


class ReservedKeys:
    """The keys as the front door sees them. Used by one thread."""

    def __init__(self, redis: RedisSettings) -> None:
        client = store.connect(
            redis.url,
            decode_responses=False,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=None,
        )
        self._reservations = Reservations(client, redis.submissions_key)
        self._paused_until = 0.0

    def reserve(self, messages: Sequence[Message]) -> Sequence[Answer]:
        """The answer for each message; New for all where Redis cannot tell. Never raises."""
        return self._ask(self._reservations.reserve, messages)

    def withdraw(self, messages: Sequence[Message]) -> Sequence[Answer]:
        """For each message Duplicate where it goes on, else New. Never raises."""
        return self._ask(self._reservations.withdraw, messages)

    def _ask(
        self, ask: Callable[[Sequence[Claim]], Sequence[Answer]], messages: Sequence[Message]
    ) -> Sequence[Answer]:
        unknown = [NEW] * len(messages)
        now = time.monotonic()
        if now < self._paused_until:
            return unknown
        try:
            answers = ask([claim_of(message, _NO_PLACE) for message in messages])
        except StoreAwayError as error:
            self._paused_until = now + PAUSE_S
            log.warning("repeats are found by validate only", extra={"reason": str(error)})
            return unknown
        return answers or unknown
