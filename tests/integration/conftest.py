"""Fixtures shared by several integration tests."""

from __future__ import annotations

import time
import zlib

import pytest

from shared.stream.admin import ensure_topics
from shared.topics.names import TopicPlan


@pytest.fixture
def topics(kafka_bootstrap: str, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A source topic of 4 partitions and a target of 2, new for each test."""
    stem = f"test.{zlib.crc32(request.node.nodeid.encode())}.{time.time_ns()}"
    source, target = f"{stem}.in", f"{stem}.out"
    ensure_topics(kafka_bootstrap, [TopicPlan(source, 4, {}), TopicPlan(target, 2, {})])
    return source, target
