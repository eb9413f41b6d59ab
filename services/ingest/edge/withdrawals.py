"""Takes back messages whose clients are about to hear 451: what was refused must not go out.

Nobody knows whether such a message was written: Kafka may have it, and acknowledge too late. So
before the 451 its key is marked in Redis, and validate, which finds the mark when it reads the
message, cancels it. Where validate has read it already it goes on, and the client hears 250.

Does not own: whether the client hands it in again, which un-marks it (reservations.py).

When Redis is away, or validate looks for no repeats, nothing can be marked: the client hears 451,
and a message that was written all the same goes on (decision 0026).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from services.ingest.edge.outbox import UNKNOWN, Handed, Outcome, Written
from services.ingest.edge.reservations import ReservedKeys
from shared.topics import ids
from shared.topics.records import Message
from shared.topics.submission_keys import Answer, Duplicate


class Withdrawals:
    """The mark in Redis, as the outbox asks for it."""

    def __init__(self, keys: ReservedKeys) -> None:
        """`keys` are used by the outbox's thread for this alone."""
        self._keys = keys

    def withdraw(self, batch: Sequence[Handed[Message]]) -> list[Outcome]:
        """How each goes out: Unknown is 451, Written where it goes on all the same."""
        # What has no mail id yet was not reserved, and will not be written.
        begun = [handed for handed in batch if handed.mail_id]
        answers = self._keys.withdraw([_as_reserved(handed) for handed in begun]) if begun else ()
        outcomes = {
            handed: _outcome_of(answer) for handed, answer in zip(begun, answers, strict=True)
        }
        return [outcomes.get(handed, UNKNOWN) for handed in batch]


def _as_reserved(handed: Handed[Message]) -> Message:
    message = handed.item
    return Message(replace(message.envelope, mail_id=handed.mail_id), message.content)


def _outcome_of(answer: Answer) -> Outcome:
    return Written(ids.from_bytes(answer.mail_id)) if isinstance(answer, Duplicate) else UNKNOWN
