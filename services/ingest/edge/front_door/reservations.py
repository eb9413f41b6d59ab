"""Reserves the submission key of a message in Redis before the message is written, and finds
duplicates.

A client that did not receive a 250 submits its message again. Because the key is reserved, the
second submission gets the mail id of the first submission, whether or not the first message was
written. The validate service reads both messages in the order in which they were written, and
decides which of the two is sent.

Before a client gets 451, its message is withdrawn, so that the message is not sent. It is unknown
whether the message was written, because Kafka may have stored it without an acknowledgement in
time. Therefore the message's key is marked in Redis before the 451. When the validate service reads
the message, it finds the mark and cancels the message. If the validate service has already read the
message, the message is sent, and the client gets 250. The mark is removed if the client submits the
message again.

While Redis is unavailable, slow or empty, the front door treats every message as new. The front
door then asks Redis at most once per PAUSE_S, and each request delays replies by at most TIMEOUT_S.
The validate service still finds the duplicates, but the second 250 has a new mail id. While Redis
is unavailable, or if the validate service does not search for duplicates, no message can be marked.
In these two cases a client may get 451 although Kafka has stored its message. The message is then
sent (decision 0026).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from services.ingest.edge.writing.outbox import UNKNOWN, Outcome, PendingWrite, Written
from shared.runtime.clock import monotonic
from shared.settings.sections import RedisSettings
from shared.store import client as store
from shared.store.client import StoreUnavailable
from shared.store.submissions import Reservations
from shared.topics import ids
from shared.topics.records import Message
from shared.topics.submission_keys import NEW, Answer, Claim, Duplicate, claim_of

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 0.25
PAUSE_S: Final = 2.0
# This value is not sent to Redis, so any value is right.
_NO_PLACE: Final = 1


class ReservedKeys:
    """The access of the front door to the submission keys in Redis. Used by one thread."""

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
        """Return an answer for each message. If Redis does not answer, all answers are New. Never
        raises an exception."""
        return self._ask(self._reservations.reserve, messages)

    def withdraw(self, messages: Sequence[Message]) -> Sequence[Answer]:
        """Return Duplicate for each message that will be sent nevertheless, and New for all other
        messages.

        Never raises.
        """
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
            log.warning(
                "Redis is unavailable: only the validate service finds duplicates",
                extra={"reason": str(error)},
            )
            return unknown
        return answers or unknown


class Withdrawals:
    """Marks the messages in Redis that the outbox has given up."""

    def __init__(self, keys: ReservedKeys) -> None:
        """Only the outbox's thread for withdrawals may use `keys`."""
        self._keys = keys

    def withdraw(self, batch: Sequence[PendingWrite[Message]]) -> list[Outcome]:
        """Return one outcome per message.

        For the outcome Unknown, the client gets 451. Written means that the message will be sent
        nevertheless.
        """
        # If an item has no mail id, no writer has begun the item, and it will not be written.
        begun = [pending for pending in batch if pending.mail_id]
        answers = self._keys.withdraw([_as_reserved(pending) for pending in begun]) if begun else ()
        outcomes = {
            pending: _outcome_of(answer) for pending, answer in zip(begun, answers, strict=True)
        }
        return [outcomes.get(pending, UNKNOWN) for pending in batch]


def _as_reserved(pending: PendingWrite[Message]) -> Message:
    message = pending.item
    return Message(replace(message.envelope, mail_id=pending.mail_id), message.content)


def _outcome_of(answer: Answer) -> Outcome:
    return Written(ids.from_bytes(answer.mail_id)) if isinstance(answer, Duplicate) else UNKNOWN
