"""Suppresses the messages whose recipient is in the view of suppressed recipients. Pure.

Owns: which messages are looked up, and what follows. Does not own: the view (edge/suppression), the
block list of the registry (block_list.py), the events (events.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from services.validate.core.batch import Judged
from services.validate.core.suppression.events import suppressed_event
from services.validate.core.verdict import Passed, Suppressed
from shared.mail.recipients import comparable
from shared.topics.records import Envelope
from shared.topics.suppressions import fields_of, strongest


def to_look_up(judged: Sequence[Judged]) -> list[int]:
    """Return the indexes of the messages that are sent unless their recipient is in the view."""
    return [index for index, one in enumerate(judged) if isinstance(one.verdict, Passed)]


def fields_to_look_up(judged: Sequence[Judged], indexes: Sequence[int]) -> bytes:
    """Return the two fields of the view for each of these messages."""
    return b"".join(
        [
            fields_of(envelope.client, _recipient(envelope))
            for envelope in (judged[index].message.envelope for index in indexes)
        ]
    )


def suppress(
    judged: Sequence[Judged], indexes: Sequence[int], bits: bytes, now_ms: int
) -> list[Judged]:
    """Replace the verdict of each message at `indexes` whose recipient is suppressed.

    `bits`: the reasons found for each of the fields that were looked up.
    """
    after = list(judged)
    if not any(bits):
        return after
    for place, index in enumerate(indexes):
        reason = strongest(bits[2 * place] | bits[2 * place + 1])
        verdict = judged[index].verdict
        if reason is not None and isinstance(verdict, Passed):
            event = suppressed_event(verdict.envelope, reason, now_ms)
            after[index] = Judged(judged[index].message, Suppressed(event))
    return after


def _recipient(envelope: Envelope) -> str:
    """Return the recipient in comparison form."""
    # The address of the header, which R3 compares with the recipient, is in normal form already.
    if envelope.facts.to_address:
        return envelope.facts.to_address.lower()
    return comparable(envelope.recipient) or envelope.recipient.lower()
