"""Fixtures shared by several integration tests."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.stack.paths import API
from local.stack import Stack, StackOptions
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.topics.names import TopicPlan
from tests.support.clock_line import ClockLine, running_clock_line
from tests.support.fork_server import fork
from tests.support.group_scope import GroupScope
from tests.support.keeping_server import KEPT_DOMAIN, ReturnedLine, keeping_server


@pytest.fixture
def topics(kafka_bootstrap: str, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A source topic of 4 partitions and a target of 2, new for each test."""
    stem = f"test.{zlib.crc32(request.node.nodeid.encode())}.{time.time_ns()}"
    source, target = f"{stem}.in", f"{stem}.out"
    ensure_topics(
        KafkaSettings(bootstrap=kafka_bootstrap),
        [TopicPlan(source, 4, {}), TopicPlan(target, 2, {})],
    )
    return source, target


@pytest.fixture(scope="module")
def returned_line(
    group_scope: GroupScope, tmp_path_factory: pytest.TempPathFactory
) -> ReturnedLine:
    """A pipeline with the API for platforms, for modules of the xdist group `returned-round`.

    Mail to `kept.example.net` arrives at `kept`, with its content; other mail goes to the sink.
    """
    return group_scope.share("round", lambda: _returned_line(tmp_path_factory.mktemp("round")))


@pytest.fixture(scope="module")
def shared_line(group_scope: GroupScope, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A pipeline whose retries come a hundred times sooner, for modules that leave it as it was.

    They belong to the xdist group `shared-line`, so that it is started once. With the scale 1m is
    0.6 s, 5m 3 s, 15m 9 s.
    """
    return group_scope.share("line", lambda: _shared_line(tmp_path_factory.mktemp("line")))


@pytest.fixture(scope="module")
def clock_line(group_scope: GroupScope, tmp_path_factory: pytest.TempPathFactory) -> ClockLine:
    """A pipeline with two clients, for the modules of the xdist group `line-state`."""
    return group_scope.share(
        "clocks", lambda: running_clock_line(tmp_path_factory.mktemp("clocks"))
    )


@contextmanager
def _returned_line(folder: Path) -> Iterator[ReturnedLine]:
    services = ("ingest", "validate", "deliver", API)
    with keeping_server() as kept:
        # Whoever waits for a state asks the API again and again.
        part_env: dict[str, dict[str, str]] = {API: {"SLUICE_API__REQUESTS_PER_MINUTE": "0"}}
        options = StackOptions(
            name="returned-round",
            start=fork,
            folder=folder,
            restart=False,
            is_lasting=False,
            services=services,
            part_env=part_env,
        )
        stack = Stack(options)
        routes = {"*": stack.settings.sink, KEPT_DOMAIN: kept.address}
        part_env["deliver"] = {"SLUICE_DELIVER__ROUTES": json.dumps(routes)}
        with stack:
            yield ReturnedLine(stack, kept)


@contextmanager
def _shared_line(folder: Path) -> Iterator[Stack]:
    env = {"deliver": {"SLUICE_DELIVER__RETRY_TIME_SCALE": "0.01"}}
    options = StackOptions(
        name="line", start=fork, folder=folder, restart=False, is_lasting=False, part_env=env
    )
    with Stack(options) as stack:
        yield stack
