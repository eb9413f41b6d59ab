"""Resources left by a Kafka client that could not be created."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from shared.stream.client import ClientOptions, make_consumer, make_producer
from shared.stream.kafka_python.closing import make_client
from tests.support.smtp_peers import wait_until


def test_no_thread_stays_of_a_client_that_finds_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:" + str(server.getsockname()[1])
    options = ClientOptions(address, "nobody")
    before = set(threading.enumerate())
    makers: tuple[Callable[[], Any], ...] = (
        lambda: make_consumer(options, "group", bootstrap_timeout_ms=200),
        lambda: make_producer(options, "id", bootstrap_timeout_ms=200),
        lambda: make_client(KafkaAdminClient, bootstrap_servers=address, bootstrap_timeout_ms=200),
    )
    for make in makers:
        with pytest.raises(KafkaError):
            make()
    wait_until(lambda: not set(threading.enumerate()) - before, "no thread is left")
