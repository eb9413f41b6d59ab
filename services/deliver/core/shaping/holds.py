"""Decides when lanes and retry topics are read. Mail waits in Kafka until limits allow it. Pure.

A lane with the mail of one provider is the queue of that provider. Mail that the provider's limit
will not allow soon (room.py) stays unread, and while the provider is suspended, the lane is not
read. So a backlog of any length costs neither memory nor a second copy. A lane whose mail goes to
several destinations, such as `default`, is always read. If mail of such a lane cannot be sent yet,
it is deferred until its turn (throttle.py), so that it delays no other mail.

Mail that a limit has turned away waits on a retry topic for its turn. The turn is an estimate from
the rate at which mail was sent before (turns.py). So this mail is read either later or earlier:

- later, if more mail comes back than can be sent, or if its site is slow. Otherwise the mail would
  find no room and would be written to Kafka again. Other mail on the same partition waits behind
  the held mail. So a record may be held after its due time for at most the jitter of its topic
  (JITTER_SHARE), or for LEAST_S if that is longer. A message is not held if its destination is
  suspended or if a limit will not allow it for a long time;
- earlier, if less mail comes back than can be sent. It is then read as fast as its limit allows,
  while little mail waits for the limit and nothing is suspended.

Does not own: the decision whether mail that was read may wait (group.py), the reading
(shared/stream/). Two threads use this module: the reading thread calls hold_s(), handed() and
wait_s(), and the event loop calls the other methods. Each operation on a set or dict is atomic.
wait_s() reads numbers that the event loop changes. A wrong number costs one more copy of a message,
or a delay of LOOK_S.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Final

from services.deliver.core.shaping.group import Group
from services.deliver.core.shaping.room import FILL_S, for_new
from services.deliver.core.shaping.suspensions import Suspensions
from shared.mail.domains import domain_of
from shared.topics.names import deferred
from shared.topics.records import Envelope
from shared.topics.retry_topics import JITTER_SHARE, RETRY_TOPICS_S

DEFAULT_LANE: Final = "default"
# A lane that is not read, or a held record, is checked again after this time.
LOOK_S: Final = 0.1
SUSPENDED_LOOK_S: Final = 1.0
# A record whose turn has not come is checked again after this time.
EARLY_LOOK_S: Final = 0.25
# A lane counts as mixed for this time after it had mail for a second destination.
MIXED_S: Final = 600.0
# A record may be held after its due time for at most the jitter of its topic. This maximum is never
# below LEAST_S and never above MOST_S.
LEAST_S: Final = 30.0
MOST_S: Final = 600.0
MAX_KEYS: Final = 20_000
# The number of messages that are read early per FILL_S if there is only a limit on bytes.
FEW: Final = 16
_MOST_LATE_S: Final = {
    deferred(step): min(MOST_S, max(LEAST_S, JITTER_SHARE * delay_s))
    for step, delay_s in RETRY_TOPICS_S.items()
}

_Key = tuple[str, str, str, str]


class LaneHolds:
    """The state of each lane. `unix_now` returns Unix seconds."""

    def __init__(self, suspensions: Suspensions, unix_now: Callable[[], float]) -> None:
        self._suspensions = suspensions
        self._now = unix_now
        self._lanes: dict[str, _Lane] = {}

    def is_of_one(self, lane: str, key: str, per_s: float) -> bool:
        """Record a destination of this lane; return True if all mail of the lane goes there.

        `per_s` is the number of messages per second that this worker may send to the destination; 0
        means no limit.
        """
        if not lane or lane == DEFAULT_LANE:
            return False
        state = self._lane(lane)
        if state.key != key:
            if state.key:
                state.mixed_until = self._now() + MIXED_S
            state.key = key
        state.per_s = per_s
        return not self._is_mixed(state)

    def goes_to(self, lane: str, key: str) -> bool:
        """Return True if all mail of this lane goes to this destination; nothing is recorded."""
        state = self._lanes.get(lane)
        return state is not None and state.key == key and not self._is_mixed(state)

    def _is_mixed(self, state: _Lane) -> bool:
        return bool(state.mixed_until) and self._now() < state.mixed_until

    def handed(self, lane: str, jobs: Iterable[Hashable]) -> None:
        """Count messages of a lane that were passed on for sending."""
        self._lane(lane).waiting.update(jobs)

    def begun(self, lane: str, job: Hashable) -> None:
        """Stop counting a message that no longer waits, even if no attempt has begun."""
        state = self._lanes.get(lane)
        if state is not None:
            state.waiting.discard(job)

    def hold_s(self, lane: str, more: int) -> float:
        """Return the seconds for which the lane is not read; 0.0 if the lane is read now.

        `more` is the number of messages that are about to be passed on.
        """
        state = self._lanes.get(lane)
        if state is None or not state.key:
            return 0.0
        now = self._now()
        if now < state.mixed_until:
            return 0.0
        found = self._suspensions.suspended((state.key,), now)
        if found is not None:
            return min(SUSPENDED_LOOK_S, max(LOOK_S, found.until - now))
        is_full = state.per_s and len(state.waiting) + more >= for_new(state.per_s)
        return LOOK_S if is_full else 0.0

    def _lane(self, name: str) -> _Lane:
        found = self._lanes.get(name)
        if found is None:
            found = self._lanes[name] = _Lane()
        return found


class RetryHolds:
    """The groups of mail that waits for limits. `slow_sites` has the sites that count as slow."""

    def __init__(
        self, is_suspended: Callable[[Group], bool], loop_time: Callable[[], float]
    ) -> None:
        """`loop_time` is the clock that the limits use."""
        self._is_suspended = is_suspended
        self._now = loop_time
        self._groups: dict[_Key, tuple[Group, _Budget]] = {}
        self.slow_sites: frozenset[str] = frozenset()

    def note(self, envelope: Envelope, group: Group) -> None:
        """Record the group of a message that was turned away or came back."""
        key = _key(envelope)
        known = self._groups.get(key)
        if known is not None and known[0] is group:
            return
        if len(self._groups) >= MAX_KEYS:
            self._groups = {}
        self._groups[key] = (group, _Budget())

    def wait_s(self, topic: str, envelope: Envelope, more: int, due_in_s: float) -> float:
        """Return the seconds for which a message stays on its topic; 0.0 or less to read it now.

        `more` is the number of messages that are about to be passed on. `due_in_s` is the time
        until the message is due; it is negative if the message is late.
        """
        known = self._groups.get(_key(envelope))
        if known is None:
            return due_in_s
        is_turn = 0 < envelope.turn_at_ms == envelope.due_at_ms
        if due_in_s > 0:
            return self._early_s(*known, due_in_s) if is_turn else due_in_s
        if -due_in_s >= _MOST_LATE_S.get(topic, 0.0):
            return 0.0
        is_slow = is_turn and known[0].to.site in self.slow_sites
        return LOOK_S if is_slow or known[0].is_nearly_full(more) else 0.0

    def _early_s(self, group: Group, budget: _Budget, due_in_s: float) -> float:
        now = self._now()
        may_go = group.may_go_early(now) and group.to.site not in self.slow_sites
        if may_go and not self._is_suspended(group) and budget.try_take(now, group.share_per_s):
            return 0.0
        return min(due_in_s, EARLY_LOOK_S)


class _Lane:
    __slots__ = ("key", "mixed_until", "per_s", "waiting")

    def __init__(self) -> None:
        self.key = ""
        self.mixed_until = 0.0
        self.per_s = 0.0
        # Messages that were passed on for sending and whose attempt has not begun.
        self.waiting: set[Hashable] = set()


def _key(envelope: Envelope) -> _Key:
    sending_domain, domain = domain_of(envelope.sender), domain_of(envelope.recipient)
    return (envelope.client, envelope.mailing_id, sending_domain, domain)


class _Budget:
    """Keeps the number of messages that are read early within the limits of their group.

    The budget is needed, because a message that was read does not immediately count as waiting.
    """

    __slots__ = ("left", "until")

    def __init__(self) -> None:
        self.left, self.until = 0.0, float("-inf")

    def try_take(self, now: float, per_s: float) -> bool:
        if now >= self.until:
            self.left, self.until = max(1.0, per_s * FILL_S) if per_s else FEW, now + FILL_S
        if self.left < 1:
            return False
        self.left -= 1
        return True
