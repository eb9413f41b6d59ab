"""Spares a consumer's poll the trips to the I/O thread that would find nothing to do.

Written for kafka-python 3.0.12. Each poll() hands two small tasks to the I/O thread and waits for
each of them: whether the coordinator is known, and which fetches are to be sent. A trip wakes the
I/O thread by a socket and the caller by a lock, which takes longer than most polls' own work;
almost always the coordinator is known and a fetch to each leader is under way. Here the caller
looks at that first, and makes the trip only if there is something to do. The wait for records
itself is the one trip that is left. poll() gives it whole milliseconds, rounded down, and would
make it again and again without a wait for the rest of the last one, so it is a millisecond longer.

Guarantees:

- when a trip is spared, it would have changed nothing: whatever is uncertain (a coordinator that is
  not connected, a fetch that has ended, a partition whose leader is asked nothing) takes the trip;
- once the I/O thread has ended with an error, every trip is made, and raises that error.

It can be removed when a poll() of a consumer that waits for a fetch hands one task to the I/O
thread (tests/unit/shared/stream/kafka_python/test_sparing_trips.py counts them).
"""

from __future__ import annotations

from typing import Any

from kafka.consumer.fetcher import Fetcher


class SparingFetcher(Fetcher):  # type: ignore[misc]
    """A fetcher that asks its I/O thread to send fetches only if one can be sent."""

    def send_fetches(self) -> Any:
        """Send a fetch to each leader that has none under way; return their futures."""
        if has_failed(self._net) or self._is_any_to_send():
            return super().send_fetches()
        return []

    def fetch_records(
        self,
        max_records: int | None = None,
        update_offsets: bool = True,
        timeout_ms: float | None = None,
    ) -> Any:
        """Return fetched records, or wait for some until the time of poll() is over."""
        whole_ms = timeout_ms + 1 if timeout_ms else timeout_ms
        return super().fetch_records(max_records, update_offsets, whole_ms)

    def _is_any_to_send(self) -> bool:
        """Whether there is anything to fetch, or to forget."""
        # One that has ended and is not forgotten ends each wait at once.
        if any(each.is_done for each in list(self._fetch_futures)):
            return True
        asked, cluster = self._nodes_with_pending_fetch_requests, self._manager.cluster
        return any(
            cluster.leader_for_partition(each) not in asked for each in self._fetchable_partitions()
        )


def spare_look_ups(consumer: Any) -> None:
    """Look for the coordinator of a KafkaConsumer's group only while it is not known."""
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
    """Whether the I/O thread has ended with an error; each task that it is handed raises it."""
    return net._exception is not None
