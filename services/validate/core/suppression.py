"""Suppresses the messages whose recipient is in the view of suppressed recipients. Pure.

Owns: the choice of the messages to look up, and their verdicts after the look-up. Does not own: the
view (edge/suppression_view.py), the block list of the registry (shared/registry/block_list.py), the
events (verdict.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.validate.core.batch import Judged
from services.validate.core.verdict import Passed, Suppressed, suppressed_event
from shared.mail.comparison import comparable
from shared.topics.records import Envelope
from shared.topics.suppressions import fields_of, strongest

# The names of the clients whose lists apply to a client: the client's own name, then the names of
# its parents.
ListsOf = Callable[[str], Sequence[str]]


def _own_list(client: str) -> Sequence[str]:
    return (client,)


def to_look_up(judged: Sequence[Judged]) -> list[int]:
    """Return the indexes of the messages whose recipients must be looked up: all messages that
    would be sent."""
    return [index for index, one in enumerate(judged) if isinstance(one.verdict, Passed)]


def fields_to_look_up(
    judged: Sequence[Judged], indexes: Sequence[int], lists_of: ListsOf = _own_list
) -> bytes:
    """Return the fields to look up in the view: two fields per list for each message."""
    return b"".join(
        [
            fields_of(name, recipient)
            for envelope in (judged[index].message.envelope for index in indexes)
            for recipient in (_recipient(envelope),)
            for name in lists_of(envelope.client)
        ]
    )


def suppress(
    judged: Sequence[Judged],
    indexes: Sequence[int],
    bits: bytes,
    now_ms: int,
    lists_of: ListsOf = _own_list,
) -> list[Judged]:
    """Replace the verdict of each message at `indexes` whose recipient is suppressed.

    `bits` are the reasons, as bits, that were found for each looked-up field. The reason comes from
    the first list that contains the recipient. The client's own list comes first, then the lists of
    its parents.
    """
    after = list(judged)
    if not any(bits):
        return after
    place = 0
    for index in indexes:
        names = lists_of(judged[index].message.envelope.client)
        found = bits[place : place + 2 * len(names)]
        place += 2 * len(names)
        if any(found):
            after[index] = _suppressed(judged[index], names, found, now_ms)
    return after


def _suppressed(one: Judged, names: Sequence[str], bits: bytes, now_ms: int) -> Judged:
    for place, owner in enumerate(names):
        reason = strongest(bits[2 * place] | bits[2 * place + 1])
        if reason is not None and isinstance(one.verdict, Passed):
            event = suppressed_event(one.verdict.envelope, reason, now_ms, owner=owner)
            return Judged(one.message, Suppressed(event))
    return one


def _recipient(envelope: Envelope) -> str:
    """Return the recipient in comparison form."""
    # Rule R3 has compared the recipient with the header's address, which is already in normal form.
    if envelope.facts.to_address:
        return envelope.facts.to_address.lower()
    return comparable(envelope.recipient) or envelope.recipient.lower()
