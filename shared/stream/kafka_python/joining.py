"""Prevents endless joins of a member whose polls are short.

Written for kafka-python 3.0.12. In this version, a task on the I/O thread carries out a join, and
the next poll of the caller processes the result. On a busy machine, or if polls are short or rare,
joins fail in four ways:

- The leader may assign partitions before its metadata have arrived. Then no member gets a
  partition, and nothing makes the leader assign again (load_metadata).
- A member with a pattern subscription requests metadata at each poll before it joins. If the answer
  takes longer than the poll, the member never sends a join (join_timeout_ms).
- A join that ended between two polls is discarded, and a new join is sent. Each join gives the
  group a new generation, and the broker refuses a transaction that began under the old generation
  (keep_finished_joins).
- If new partitions in the metadata caused the join, the leader's own assignment makes need_rejoin()
  false before the join has ended. The result of the join is then never processed, so the member has
  no partitions and sends no heartbeats (before_poll).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.coordinator.base import MemberState

from shared.stream.client import BOOTSTRAP_MS

# The time that a poll waits for a join. The caller of the poll is blocked during this time.
JOIN_POLL_MS: Final = 500


def load_metadata(consumer: KafkaConsumer) -> None:
    """Load the metadata of the subscribed topics before the first poll joins the group.

    Raises KafkaTimeoutError when no broker answers.
    """
    consumer.bootstrap(timeout_ms=BOOTSTRAP_MS, refresh=True)


class _FinishedJoin:
    """A finished join that looks unfinished, so that the client awaits it."""

    is_done = False
    exception = None

    def __init__(self, task: Any) -> None:
        self._task = task

    def add_callback(self, callback: Callable[[Any], Any]) -> Any:
        return self._task.add_callback(callback)

    def add_errback(self, errback: Callable[[Any], Any]) -> Any:
        return self._task.add_errback(errback)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._task.__await__()  # type: ignore[no-any-return]


def keep_finished_joins(consumer: KafkaConsumer) -> None:
    """Let the next poll process a join that ended after the last poll. Call this once."""
    coordinator = consumer._coordinator
    join = coordinator.join_group_async

    async def take_up_or_join(timeout_ms: float | None = None) -> Any:
        task = coordinator._join_task
        # The client forgets a join that it has awaited. A failed join is not awaited again.
        # Instead, the client sends a new join.
        has_joined = task is not None and task.is_done and task.exception is None
        if has_joined and coordinator.state is MemberState.REBALANCING:
            coordinator._join_task = _FinishedJoin(task)
        return await join(timeout_ms=timeout_ms)

    coordinator.join_group_async = take_up_or_join


def join_timeout_ms(consumer: KafkaConsumer, timeout_ms: int) -> int:
    """Return the duration of the poll: `timeout_ms`, or the time for a join if a join is due."""
    if consumer._coordinator.need_rejoin():
        return max(timeout_ms, JOIN_POLL_MS)
    return timeout_ms


def before_poll(consumer: KafkaConsumer) -> None:
    """Prepare a poll of a group member. Call this before each poll.

    If a join is in progress, this function requests the join again, so that the next poll waits for
    the join.

    The function also removes the fetcher's current batch if the batch is exhausted. When a paused
    partition is resumed, the library returns its parked records only if there is no current batch.
    Otherwise the records stay parked forever, and their partition is not fetched.
    """
    coordinator = consumer._coordinator
    if coordinator is not None and coordinator.rejoining:
        coordinator.request_rejoin()
    fetcher = consumer._fetcher
    if fetcher._next_partition_records is not None and not fetcher._next_partition_records:
        fetcher._next_partition_records = None
