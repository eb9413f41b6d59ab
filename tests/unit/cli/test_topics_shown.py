"""What `sluice topics` shows of Kafka's own topics, and what fails it."""

from __future__ import annotations

import pytest

from cli.topics.command import Answer, own_row, table_lines, wrong
from shared.settings.sections import KafkaSettings
from shared.stream.topic_configs import TopicReport

KAFKA = KafkaSettings(replication=3)
SHORT = TopicReport("__consumer_offsets", "differs", replication=1)


def test_too_few_copies_of_kafkas_own_topics_are_shown_with_who_adds_them() -> None:
    (_, line) = table_lines([Answer("mail.events", "ok"), own_row(SHORT, KAFKA)], 200)
    assert line.split()[:5] == ["__consumer_offsets", "brokers", "replication", "1", "3"]
    assert "kafka-reassign-partitions.sh" in line


@pytest.mark.parametrize(
    ("status", "fails"),
    [
        ("ok", False),
        ("created", False),
        ("altered", False),
        ("differs", True),
        ("missing", True),
        ("unreadable", True),
        ("refused", True),
    ],
)
def test_what_apply_leaves_alone_does_not_fail_the_plan(status: str, fails: bool) -> None:
    planned = Answer("mail.events", status)
    assert wrong([planned, own_row(SHORT, KAFKA)]) == ([planned] if fails else [])
