"""Avoids hand-offs from a consumer's poll to the I/O thread if that thread has nothing to do.

Written for kafka-python 3.0.12. Each poll() passes three small tasks to the I/O thread and waits
for each of them: the look-up of the coordinator, the sending of fetches, and the wait for records.
Such a hand-off wakes the I/O thread by a socket and the caller by a lock. The hand-offs take longer
than the other work of most polls. They are almost always unnecessary, because the coordinator is
known and a fetch to each leader is in progress. Here the caller checks this first, and hands a task
to the I/O thread only if there is something to do. The caller waits for records on an event, which
the I/O thread sets when a fetch ends. So the I/O thread has nothing to do when the time of the poll
is over. poll() rounds the waiting time down to whole milliseconds. With the rounded time, poll()
would loop without waiting during the rest of the last millisecond. So the wait here is one
millisecond longer.

Guarantees:

- An avoided hand-off would have changed nothing, because the hand-off is made in every uncertain
  case (the coordinator is not connected, a fetch has ended, or a partition has no fetch to its
  leader).
- Records are not returned later than without this module, because the wait ends when a fetch ends.
  The event may be set just before the records of the fetch are available. Then poll() asks again,
  makes the hand-off, and returns when the records are available.
- After the I/O thread has ended with an error, every hand-off is made and raises that error. A wait
  that began before the error ends when its time is over.

This module can be removed when the library's poll() hands no task to the I/O thread while the
consumer waits for a fetch (tests/unit/shared/stream/kafka_python/test_sparing_trips.py counts the
tasks).
"""

from __future__ import annotations

import threading
from typing import Any

from kafka.consumer.fetcher import Fetcher


class SparingFetcher(Fetcher):  # type: ignore[misc]
    """A fetcher that uses the I/O thread only if there is a fetch to send."""

    def send_fetches(self) -> Any:
        """Send a fetch to each leader that has no fetch in progress. Return the futures."""
        if has_failed(self._net) or self._is_any_to_send():
            return super().send_fetches()
        return []

    def fetch_records(
        self,
        max_records: int | None = None,
        update_offsets: bool = True,
        timeout_ms: float | None = None,
    ) -> Any:
        """Wait for records. Return the records, and True if there was no fetch to wait for."""
        whole_ms = timeout_ms + 1 if timeout_ms else timeout_ms
        if whole_ms is None or self._net._io_thread is None or has_failed(self._net):
            return super().fetch_records(max_records, update_offsets, whole_ms)
        found, is_partial = self.fetched_records(max_records, update_offsets)
        if not is_partial:
            self.send_fetches()
        if found:
            return found, False
        waited_for = list(self._fetch_futures)
        if self._reset_task is not None and not self._reset_task.is_done:
            waited_for.append(self._reset_task)
        if not waited_for:
            return found, True
        has_ended = threading.Event()
        for each in waited_for:
            each.add_both(lambda _: has_ended.set())
        has_ended.wait(whole_ms / 1000)
        return self.fetched_records(max_records, update_offsets)[0], False

    def _is_any_to_send(self) -> bool:
        """Return True if there is a fetch to send, or an ended fetch to remove."""
        # If an ended fetch were not removed, it would end each wait at once.
        if any(each.is_done for each in list(self._fetch_futures)):
            return True
        asked, cluster = self._nodes_with_pending_fetch_requests, self._manager.cluster
        return any(
            cluster.leader_for_partition(each) not in asked for each in self._fetchable_partitions()
        )


def spare_look_ups(consumer: Any) -> None:
    """Look up the coordinator of a KafkaConsumer's group only while no coordinator is known."""
    coordinator, network = consumer._coordinator, consumer._client
    if coordinator is None:
        return
    look_up = coordinator.ensure_coordinator_ready

    def ensure_known(timeout_ms: float | None = None) -> bool:
        found = coordinator.coordinator_id
        if found is not None and network.connected(found) and not has_failed(network._net):
            return True
        return bool(look_up(timeout_ms=timeout_ms))

    coordinator.ensure_coordinator_ready = ensure_known


def has_failed(net: Any) -> bool:
    """Return True if the I/O thread has ended with an error. Each further task raises the error."""
    return net._exception is not None
