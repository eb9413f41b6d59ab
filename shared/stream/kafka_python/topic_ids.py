"""Returns the id of a topic from the latest metadata of a consumer.

Written for kafka-python 3.0.12, whose consumer has the id in its metadata, but no method that
returns the id. Each answer about topics replaces all ids. So after an answer to a request that did
not contain the topic, the topic's id is unknown for a moment. This module can be removed when
KafkaConsumer has such a method; tests/contract/test_kafka_python.py checks this.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

# A broker sends this id for an unknown topic.
NO_ID: Final = UUID(int=0)


def topic_id(consumer: Any, topic: str) -> str:
    """Return the topic's id. Return "" if the id is not known now, even if the topic exists."""
    found = consumer._cluster.topic_id(topic)
    return "" if found in (None, NO_ID) else str(found)
