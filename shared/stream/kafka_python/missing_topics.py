"""Makes a transaction fail if it writes to a topic that was deleted.

Written for kafka-python 3.0.12. If a topic does not exist, this library retries forever, because
the topic may have just been created. A commit that has begun then waits until its records time out,
but the watchdog ends the process earlier. This module can be removed when
tests/integration/test_own_events_topics.py passes without it.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import AddPartitionsToTxnHandler

_add: Final = AddPartitionsToTxnHandler.handle_response
_retry: Final = Sender._can_retry


def fail_where_a_topic_is_missing(prefix: str) -> None:
    """Treat missing topics with this prefix as deleted. May be called repeatedly."""

    def fail_or_add(handler: Any, response: Any) -> None:
        gone = [
            topic
            for topic, partitions in response.results_by_topic_v3_and_below
            if topic.startswith(prefix)
            and any(for_code(code) is UnknownTopicOrPartitionError for _, code in partitions)
        ]
        if gone:
            handler.abortable_error(KafkaError(f"there is no topic {', '.join(gone)}"))
        else:
            _add(handler, response)
        manager = handler.transaction_manager
        if manager.has_abortable_error():
            for _, _, request in manager._pending_requests:  # one of these requests is the commit
                request.fail(manager.last_error)
            manager._pending_requests.clear()

    def may_retry(sender: Any, batch: Any, error: type[BaseException]) -> bool:
        # If the topic was deleted after it was added to the transaction, its records are lost and
        # the other records are committed.
        is_gone = error is UnknownTopicOrPartitionError
        if is_gone and batch.topic_partition.topic.startswith(prefix):
            return False
        return bool(_retry(sender, batch, error))

    AddPartitionsToTxnHandler.handle_response = fail_or_add
    Sender._can_retry = may_retry
