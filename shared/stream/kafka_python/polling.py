"""Subscribes a group member and polls it, with the workarounds that each poll needs, in order.

Written for kafka-python 3.0.12. It can be removed together with joining.py and claims.py.
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
    """Subscribe a consumer that was not polled before; `topics` as for KafkaConsumer.subscribe().

    Raises KafkaTimeoutError when no broker answers.
    """
    keep_finished_joins(consumer)
    consumer.subscribe(listener=listener, **topics)
    load_metadata(consumer)


def poll(
    consumer: Any,
    timeout_ms: int,
    *,
    assignor: ClaimingAssignor | None = None,
    max_records: int | None = None,
) -> dict[Any, list[Any]]:
    """Poll for this long, or for longer where a join is due. Raises KafkaError."""
    before_poll(consumer)
    if assignor is not None:
        rejoin_for_claims(consumer, assignor)  # before the poll's length is chosen
    found: dict[Any, list[Any]] = consumer.poll(
        timeout_ms=join_timeout_ms(consumer, timeout_ms), max_records=max_records
    )
    return found
