"""One of several bootstrap servers accepts connections and never answers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient

from shared.stream.client import ClientOptions, make_admin, make_consumer, make_producer
from shared.topics.names import EVENTS

CLIENTS = 6


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a port that accepts connections, like that of a broker that stands still."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def consumer(options: ClientOptions) -> Any:
    return make_consumer(options, None)


def producer(options: ClientOptions) -> Any:
    made = make_producer(options, None)
    made.partitions_for(EVENTS)
    return made


def admin(options: ClientOptions) -> KafkaAdminClient:
    return make_admin(options, 5_000, bootstrap_timeout_ms=5_000)


@pytest.mark.parametrize("make", [consumer, producer, admin])
def test_clients_find_the_broker_that_answers_behind_one_that_does_not(
    kafka_bootstrap: str, silent: str, make: Callable[[ClientOptions], Any]
) -> None:
    # Without attempts at both, each of these clients fails with a probability of a half.
    options = ClientOptions(f"{silent},{kafka_bootstrap}", "silent")
    for _ in range(CLIENTS):
        with closing(make(options)):
            pass
