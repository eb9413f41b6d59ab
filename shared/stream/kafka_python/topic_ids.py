"""The id of a topic, as a consumer has seen it.

Written for kafka-python 3.0.12, whose consumer has the id in its metadata and no method for it. It
can be removed when KafkaConsumer has one; tests/contract/test_kafka_python.py looks for it.
"""

from __future__ import annotations

from typing import Any


def topic_id(consumer: Any, topic: str) -> str:
    """Return the topic's id; "" if the topic is not known."""
    found = consumer._cluster.topic_id(topic)
    return "" if found is None else str(found)
