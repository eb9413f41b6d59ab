"""Reserves the submission key of a message in Redis before it is written, and finds duplicates.
Withdraws the key if the client gets a reply that its message is not stored (withdrawals.py).

A client that did not receive a 250 submits its message again. The reserved key gives the second
submission the mail id of the first one, whether the first was written or not. Validate, which
reads both in the order in which they were written, decides which of the two is sent.

While Redis is unavailable, slow or empty, every message counts as new here, and a reply is delayed
by at most TIMEOUT_S, once per PAUSE_S. Validate still finds the duplicates; only the mail id of the
second 250 is then a new one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from shared.runtime.clock import monotonic
from shared.settings.sections import RedisSettings
from shared.store import client as store
from shared.store.client import StoreUnavailable
from shared.store.submissions import Reservations
from shared.topics.records import Message
from shared.topics.submission_keys import NEW, Answer, Claim, claim_of

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 0.25
PAUSE_S: Final = 2.0
# Nothing has been read yet: the place is not sent, so any value works.
_NO_PLACE: Final = 1


class ReservedKeys:
    """The submission keys, as the front door uses them. Used by one thread."""

    def __init__(self, redis: RedisSettings) -> None:
        client = store.connect(
            redis,
            decode_responses=False,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=None,
        )
        self._reservations = Reservations(client, redis.submissions_key)
        self._paused_until = 0.0

    def reserve(self, messages: Sequence[Message]) -> Sequence[Answer]:
        """Return an answer for each message; New if Redis does not answer. Never raises."""
        return self._ask(self._reservations.reserve, messages)

    def withdraw(self, messages: Sequence[Message]) -> Sequence[Answer]:
        """Return Duplicate for each message that will be sent anyway, else New. Never raises."""
        return self._ask(self._reservations.withdraw, messages)

    def _ask(
        self, ask: Callable[[Sequence[Claim]], Sequence[Answer]], messages: Sequence[Message]
    ) -> Sequence[Answer]:
        unknown = [NEW] * len(messages)
        now = monotonic()
        if now < self._paused_until:
            return unknown
        try:
            answers = ask([claim_of(message, _NO_PLACE) for message in messages])
        except StoreUnavailable as error:
            self._paused_until = now + PAUSE_S
            log.warning("duplicates are found by validate only", extra={"reason": str(error)})
            return unknown
        return answers or unknown
