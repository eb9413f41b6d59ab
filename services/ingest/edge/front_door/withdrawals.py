"""Withdraws messages whose clients are about to get 451, so that they are not sent.

It is not known whether such a message was written: Kafka may have it and acknowledge too late. So
before the 451 its key is marked in Redis; validate finds the mark when it reads the message, and
cancels the message. If validate has already read the message, it is sent and the client gets 250.

Does not own: a duplicate submission, which removes the mark (reservations.py).

While Redis is unavailable, or if validate does not look for duplicates, nothing can be marked: the
client gets 451, and a message that was written anyway is sent (decision 0026).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from services.ingest.edge.front_door.reservations import ReservedKeys
from services.ingest.edge.writing.outbox import UNKNOWN, Outcome, PendingWrite, Written
from shared.topics import ids
from shared.topics.records import Message
from shared.topics.submission_keys import Answer, Duplicate


class Withdrawals:
    """Marks messages in Redis for the outbox."""

    def __init__(self, keys: ReservedKeys) -> None:
        """`keys` are used only here, by the outbox's thread."""
        self._keys = keys

    def withdraw(self, batch: Sequence[PendingWrite[Message]]) -> list[Outcome]:
        """Return the outcome of each: Unknown means 451, Written means that it is sent anyway."""
        # A message without a mail id was not begun and will not be written.
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
