"""Subscribes a group member and polls it. Applies the workarounds of each poll in order.

Written for kafka-python 3.0.12. This module can be removed together with joining.py and claims.py,
but only when poll() itself waits while a heartbeat is due (see _wait_though_a_heartbeat_is_due()).
"""

from __future__ import annotations

from typing import Any

from kafka import ConsumerRebalanceListener

from shared.stream.kafka_python.claims import ClaimingAssignor, rejoin_for_claims
from shared.stream.kafka_python.joining import (
    before_poll,
    join_timeout_ms,
    keep_finished_joins,
    load_metadata,
)


def subscribe(consumer: Any, listener: ConsumerRebalanceListener, **topics: Any) -> None:
    """Subscribe a consumer before its first poll. `topics` are as in KafkaConsumer.subscribe().

    Raises KafkaTimeoutError when no broker answers.
    """
    keep_finished_joins(consumer)
    _wait_though_a_heartbeat_is_due(consumer)
    consumer.subscribe(listener=listener, **topics)
    load_metadata(consumer)


def _wait_though_a_heartbeat_is_due(consumer: Any) -> None:
    """Make poll() wait for records until its time-out.

    The library's poll() waits only until the next heartbeat is due, although the I/O thread sends
    the heartbeats. If a frozen broker does not answer a heartbeat, the next heartbeat stays due.
    Then poll() loops without waiting, and in each loop adds a callback to the unanswered fetch.
    This loop uses a whole processor, and 250 MB of memory in 25 s.
    """
    consumer._coordinator.time_to_next_poll = lambda: float("inf")


def poll(
    consumer: Any,
    timeout_ms: int,
    *,
    assignor: ClaimingAssignor | None = None,
    max_records: int | None = None,
) -> dict[Any, list[Any]]:
    """Poll for `timeout_ms`, or longer if a join is due. Raises KafkaError."""
    before_poll(consumer)
    if assignor is not None:
        rejoin_for_claims(consumer, assignor)  # first, because a due join makes the poll longer
    found: dict[Any, list[Any]] = consumer.poll(
        timeout_ms=join_timeout_ms(consumer, timeout_ms), max_records=max_records
    )
    return found
