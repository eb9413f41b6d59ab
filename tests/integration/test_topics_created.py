"""All missing topics are created in one request; one that Kafka refuses keeps back no other."""

from __future__ import annotations

import time
from threading import Thread

import pytest

from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.stream.client import client_options, make_admin
from shared.topics.names import TopicPlan


def test_a_topic_that_kafka_refuses_is_named_and_the_others_are_created(
    kafka_bootstrap: str,
) -> None:
    kafka, stem = KafkaSettings(bootstrap=kafka_bootstrap), f"test.created.{time.time_ns()}"
    existing, refused, last = (f"{stem}.{name}" for name in ("existing", "refused", "last"))
    assert ensure_topics(kafka, [TopicPlan(existing, 1, {})]) == [existing]
    plans = [
        TopicPlan(existing, 1, {}),
        TopicPlan(refused, 1, {"retention.ms": "a week"}),
        TopicPlan(last, 1, {}),
    ]
    with pytest.raises(TopicError, match=f"topic {refused} could not be created: InvalidConfig"):
        ensure_topics(kafka, plans)
    admin = make_admin(client_options(kafka, "test"), 30_000)
    try:
        found = {name for name in admin.list_topics() if name.startswith(stem)}
    finally:
        admin.close()
    assert found == {existing, last}


def test_two_that_create_the_same_topics_at_once_both_have_them(kafka_bootstrap: str) -> None:
    kafka, stem = KafkaSettings(bootstrap=kafka_bootstrap), f"test.twice.{time.time_ns()}"
    plans = [TopicPlan(f"{stem}.{number}", 2, {}) for number in range(20)]
    made: list[str] = []
    threads = [Thread(target=lambda: made.extend(ensure_topics(kafka, plans))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(made) == {plan.name for plan in plans}
    assert ensure_topics(kafka, plans) == []
