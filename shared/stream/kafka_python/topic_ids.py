"""The id of a topic, as a consumer has last seen it.

Written for kafka-python 3.0.12, whose consumer has the id in its metadata, but no method that
returns it. Each answer about topics replaces all ids: an answer to a request that did not name the
topic makes its id unknown for a moment. It can be removed when KafkaConsumer has such a method;
tests/contract/test_kafka_python.py looks for it.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

# The id that a broker sends for a topic that it does not know.
NO_ID: Final = UUID(int=0)


def topic_id(consumer: Any, topic: str) -> str:
    """Return the topic's id; "" if it is not known now, even if the topic exists."""
    found = consumer._cluster.topic_id(topic)
    return "" if found in (None, NO_ID) else str(found)
