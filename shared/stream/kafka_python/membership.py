"""Detects every way in which a consumer stops being a member of its group.

Written for kafka-python 3.0.12, which reports a lost membership in only one case. If the heartbeat
is refused and the next poll rejoins, the library calls `on_partitions_lost`. The library reports
nothing in four other cases:

- The answer to JoinGroup or SyncGroup is UNKNOWN_MEMBER_ID or ILLEGAL_GENERATION during a rejoin.
  Then the consumer joins as a new member and keeps its old assignment and positions.
- The poll interval has passed. Then the heartbeat loop leaves the group by itself.
- Another process uses the same `group.instance.id`. Then only the heartbeats stop.
- An assignment contains a topic that has just been deleted. Then the old assignment stays in place
  under the new generation.

After a loss, the consumer's group metadata are (-1, ""). A transactional offset commit with these
metadata contains no member id, and the broker accepts such a commit from any process. At the next
join, the assignor also claims partitions of the lost membership, and the leader accepts the claim.
So a consumer that lost its membership is never used again: StreamConsumer raises MembershipLost,
and its owner creates a new StreamConsumer.

A member has a lease. After a successful heartbeat or SyncGroup, the broker keeps this member at
least for the session time-out, counted from the sending of the request. So a process that was
suspended for long finds its lease expired as soon as it continues, before it contacts any broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kafka.errors import FencedInstanceIdError, RebalanceInProgressError
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment

from shared.runtime.clock import monotonic

_UNKNOWN_MEMBER: Final = ""


class Membership:
    """The group membership of one KafkaConsumer. May be read from any thread."""

    def __init__(
        self, consumer: Any, session_timeout_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        """Attach to a consumer that has not polled yet."""
        self._session_timeout_s = session_timeout_s
        self._clock = clock
        self._coordinator = coordinator = consumer._coordinator
        self._subscription = consumer._subscription
        self._confirmed_at = float("-inf")
        self._created_at = clock()
        # The reason why the membership was lost; "" if it was not lost or has not begun.
        self.lost = ""
        # True if another process uses this instance name.
        self.is_fenced = False
        self._reset = coordinator.reset_generation
        self._heartbeat = coordinator._handle_heartbeat_response
        self._synced = coordinator._process_sync_group_response
        self._completed = coordinator._on_join_complete_async
        coordinator.reset_generation = self._on_reset
        coordinator._handle_heartbeat_response = self._on_heartbeat
        coordinator._process_sync_group_response = self._on_sync
        coordinator._on_join_complete_async = self._on_join_complete

    def has_lease(self) -> bool:
        """Return True if the broker certainly still has this member now."""
        return not self.lost and self._clock() < self._confirmed_at + self._session_timeout_s

    def unconfirmed_s(self) -> float:
        """Return the seconds without a lease. A new consumer starts as if it had a lease."""
        since = max(self._confirmed_at, self._created_at) + self._session_timeout_s
        return max(0.0, self._clock() - since)

    def _on_reset(self, member_id: str = _UNKNOWN_MEMBER) -> None:
        # If the generation is below 0, the consumer has not joined yet, so no membership is lost.
        if self._coordinator._generation.generation_id >= 0:
            self.lost = self.lost or "the group coordinator no longer knows this member"
        self._reset(member_id)

    def _on_heartbeat(self, response: Any, send_time: float) -> Any:
        try:
            answer = self._heartbeat(response, send_time)
        except RebalanceInProgressError:
            self._confirmed_at = max(self._confirmed_at, send_time)
            raise
        except FencedInstanceIdError:
            self.is_fenced = True
            raise
        self._confirmed_at = max(self._confirmed_at, send_time)
        return answer

    def _on_sync(self, response: Any, send_time: float) -> Any:
        assignment = self._synced(response, send_time)
        self._confirmed_at = max(self._confirmed_at, send_time)
        return assignment

    async def _on_join_complete(
        self, generation: int, member_id: str, protocol: str, assignment: bytes
    ) -> None:
        await self._completed(generation, member_id, protocol, assignment)
        named = set(ConsumerProtocolAssignment.decode(assignment).partitions())
        if named != set(self._subscription.assigned_partitions()):
            self.lost = self.lost or "the assignment names a topic that does not exist"
