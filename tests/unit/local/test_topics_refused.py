"""The topics of a broker that has just started: refused for a while, then created."""

from __future__ import annotations

import pytest
from kafka.errors import KafkaConnectionError, KafkaError

from local.parts import kafka_broker
from local.process import PartNotStarted
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError

KAFKA = KafkaSettings(bootstrap="127.0.0.1:9092")
FENCED = TopicError("topic mail.events could not be created: all brokers are fenced")


def _answers(monkeypatch: pytest.MonkeyPatch, *answers: Exception | None) -> list[None]:
    """Kafka answers so, one after the other; returns a list with an item per request."""
    asked: list[None] = []
    left = iter(answers)

    def ensure(*_: object) -> None:
        asked.append(None)
        answer = next(left)
        if answer is not None:
            raise answer

    monkeypatch.setattr(kafka_broker, "ensure_topics", ensure)
    monkeypatch.setattr(kafka_broker, "_TOPICS_RETRY_S", 0.0)
    return asked


@pytest.mark.parametrize("fault", [FENCED, KafkaConnectionError()])
def test_it_is_asked_again_while_the_broker_refuses(
    monkeypatch: pytest.MonkeyPatch, fault: TopicError | KafkaError
) -> None:
    asked = _answers(monkeypatch, fault, fault, None)
    kafka_broker.create_topics(KAFKA)
    assert len(asked) == 3


def test_a_broker_that_goes_on_refusing_is_an_error_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _answers(monkeypatch, FENCED)
    monkeypatch.setattr(kafka_broker, "_TOPICS_TIMEOUT_S", -1.0)
    with pytest.raises(PartNotStarted, match="all brokers are fenced"):
        kafka_broker.create_topics(KAFKA)
