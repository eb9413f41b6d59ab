"""Which check of /ready names what a relay waits for."""

from __future__ import annotations

import pytest

from shared.stream.relay import RelayStatus


@pytest.mark.parametrize(
    ("waiting_for", "kafka", "dependencies"),
    [
        ("", "", ""),
        ("Kafka: no broker", "Kafka: no broker", ""),
        ("submission keys: Redis: OOM", "", "submission keys: Redis: OOM"),
    ],
)
def test_kafka_is_not_named_for_what_another_part_does_not_give(
    waiting_for: str, kafka: str, dependencies: str
) -> None:
    status = RelayStatus(waiting_for=waiting_for, dependency="submission keys: Redis: OOM")
    assert status.waiting_by_check() == {"kafka": kafka, "dependencies": dependencies}
