"""Creates the topics of the pipeline on its own broker."""

from __future__ import annotations

import time
from typing import Final

from kafka.errors import KafkaError

from local.process import PartNotStarted
from shared.runtime.clock import Deadline
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.topics import names

_TIMEOUT_S: Final = 120.0
_RETRY_S: Final = 0.5


def create_topics(kafka: KafkaSettings) -> None:
    """Create the topics that are missing. Raises PartNotStarted.

    A broker that has just started on a busy machine is fenced for some seconds and refuses.
    """
    deadline = Deadline(_TIMEOUT_S)
    while True:
        try:
            ensure_topics(kafka, names.plans(("default",)))
            return
        except (KafkaError, TopicError) as error:
            if deadline.is_over():
                raise PartNotStarted(f"Kafka does not take the topics: {error}") from error
            time.sleep(_RETRY_S)
