"""How retry topics are read: mail that is due and whose limit has no room stays in Kafka. Pure.

Mail that a limit has turned away comes back at the rate at which mail went when it was turned away
(turns.py). A process that is short of processor time later, or lost a part of the limit to others,
sends less than that. What comes back then would find no room and be written to Kafka once more; it
is left there instead, and read when there is room.

Other mail on the same partition waits behind it, so a record is held at most as long after it was
due as the records of its topic may be late anyway (JITTER_SHARE), but LEAST_S. Mail of a limit that
will not allow it for long, or that is suspended, is not held.

Owns: which mail that is due is not read. Does not own: whether mail that was read may wait
(group.py), the reading (shared/stream/). Two threads use this: the one that reads calls hold_s(),
the loop note(). It reads numbers that the loop changes; a wrong one costs one message a copy more,
or LOOK_S.
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.shaping.group import Group
from shared.topics.names import JITTER_SHARE, RETRY_TOPICS_S, deferred
from shared.topics.records import Envelope

# How often a record that is held is looked at again.
LOOK_S: Final = 0.1
# How long a record may be held after it was due.
LEAST_S: Final = 30.0
MOST_S: Final = 600.0
MAX_KEYS: Final = 20_000
_MOST_LATE_S: Final = {
    deferred(step): min(MOST_S, max(LEAST_S, JITTER_SHARE * delay_s))
    for step, delay_s in RETRY_TOPICS_S.items()
}

_Key = tuple[str, str, str, str]


def _key(envelope: Envelope) -> _Key:
    sending_domain = envelope.sender.rpartition("@")[2]
    domain = envelope.recipient.rpartition("@")[2]
    return (envelope.client, envelope.mailing_id, sending_domain, domain)


class RetryHolds:
    """The groups of the mail that came back lately."""

    def __init__(self) -> None:
        self._groups: dict[_Key, Group] = {}

    def note(self, envelope: Envelope, group: Group) -> None:
        """A message came back; it is of this group."""
        if len(self._groups) >= MAX_KEYS:
            self._groups = {}
        self._groups[_key(envelope)] = group

    def hold_s(self, topic: str, envelope: Envelope, now_ms: int, more: int) -> float:
        """How long this message, which is due, is left on its topic; 0.0: it is read.

        `more`: how many messages are about to be handed out.
        """
        late_s = (now_ms - envelope.due_at_ms) / 1000
        if not envelope.due_at_ms or late_s >= _MOST_LATE_S.get(topic, 0.0):
            return 0.0
        group = self._groups.get(_key(envelope))
        return LOOK_S if group is not None and group.is_nearly_full(more) else 0.0
