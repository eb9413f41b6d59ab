"""Prevents endless joins of a member whose polls are short.

Written for kafka-python 3.0.12. There a task on the I/O thread carries out a join, and a poll of
the caller takes up its result. On a busy machine, or if polls are short or far apart, it fails in
four ways:

- The leader may assign before its metadata have arrived: no member gets a partition, and nothing
  makes the leader assign again (load_metadata).
- A member of a pattern subscription asks for metadata at each poll before it joins. If the
  answer takes longer than the poll, no join is ever sent (join_timeout_ms).
- A join that ended between two polls is discarded, and a new one is sent. Each of them gives
  the group a new generation, and a transaction that began under the old one is refused
  (keep_finished_joins).
- If new partitions in the metadata started the join, the leader's own assignment makes
  need_rejoin() false before the join has ended, and its result is never taken up: no partitions,
  no heartbeats (before_poll).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.coordinator.base import MemberState

from shared.stream.client import BOOTSTRAP_MS

# How long a poll waits for a join; meanwhile its caller does nothing else.
JOIN_POLL_MS: Final = 500


def load_metadata(consumer: KafkaConsumer) -> None:
    """Load the metadata of the subscribed topics before the first poll joins the group.

    Raises KafkaTimeoutError when no broker answers.
    """
    consumer.bootstrap(timeout_ms=BOOTSTRAP_MS, refresh=True)


class _FinishedJoin:
    """A finished join that looks unfinished, so that it is awaited and not replaced."""

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
    """Let the next poll take up a join that ended since the last poll. Call it once."""
    coordinator = consumer._coordinator
    join = coordinator.join_group_async

    async def take_up_or_join(timeout_ms: float | None = None) -> Any:
        task = coordinator._join_task
        # The client forgets a join that it has awaited to its end. A failed join is not awaited
        # again: a new join is sent.
        has_joined = task is not None and task.is_done and task.exception is None
        if has_joined and coordinator.state is MemberState.REBALANCING:
            coordinator._join_task = _FinishedJoin(task)
        return await join(timeout_ms=timeout_ms)

    coordinator.join_group_async = take_up_or_join


def join_timeout_ms(consumer: KafkaConsumer, timeout_ms: int) -> int:
    """Return how long to poll: `timeout_ms`, or long enough for a join if one is due."""
    if consumer._coordinator.need_rejoin():
        return max(timeout_ms, JOIN_POLL_MS)
    return timeout_ms


def before_poll(consumer: KafkaConsumer) -> None:
    """Prepare a poll of a group member; call it before each poll.

    It requests the join that is under way again, so that the next poll waits for it.

    It also removes an exhausted current batch of the fetcher. The parked records of a paused
    partition are taken up after its resumption only while there is no current batch; otherwise they
    stay parked for ever, and their partition is not fetched.
    """
    coordinator = consumer._coordinator
    if coordinator is not None and coordinator.rejoining:
        coordinator.request_rejoin()
    fetcher = consumer._fetcher
    if fetcher._next_partition_records is not None and not fetcher._next_partition_records:
        fetcher._next_partition_records = None
