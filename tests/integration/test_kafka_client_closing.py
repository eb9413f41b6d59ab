"""Connections of kafka-python are closed by the thread that reads from them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.net.compat import KafkaNetClient

from shared.stream.client import ClientOptions, make_consumer, make_producer
from shared.stream.kafka_python.closing import make_client
from shared.stream.kafka_python.quiet_selector import QuietSelector
from shared.topics.names import EVENTS

# A producer has no separate I/O thread: its sender does that work.
IO_THREADS = ("kafka-io-", "sluice-producer-closing-network-thread")


class RecordingSelector(QuietSelector):
    """Records which threads remove TCP connections from the selector."""

    threads: set[str] = set()  # noqa: RUF012 - kafka-python makes the instance

    def unregister(self, fileobj: Any) -> Any:
        if isinstance(fileobj, socket.socket) and fileobj.family == socket.AF_INET:
            self.threads.add(threading.current_thread().name)
        return super().unregister(fileobj)


def consumer(bootstrap: str, **config: Any) -> Any:
    made_one = make_consumer(ClientOptions(bootstrap, "closing"), None, **config)
    made_one.partitions_for_topic(EVENTS)
    return made_one


def producer(bootstrap: str, **config: Any) -> Any:
    made_one = make_producer(ClientOptions(bootstrap, "closing"), None, **config)
    made_one.partitions_for(EVENTS)
    return made_one


def admin(bootstrap: str, **config: Any) -> Any:
    made_one = make_client(KafkaAdminClient, bootstrap_servers=[bootstrap], **config)
    made_one.list_topics()
    return made_one


def closing_threads(make: Callable[..., Any], bootstrap: str, **config: Any) -> set[str]:
    """The names of the threads that closed the connections of this client."""

    class Selector(RecordingSelector):
        threads: set[str] = set()  # noqa: RUF012 - one set per client

    client = make(bootstrap, selector=Selector, **config)
    Selector.threads.clear()
    client.close()
    return Selector.threads


@pytest.mark.parametrize("make", [consumer, producer, admin])
def test_a_client_closes_its_connections_on_its_io_thread(
    kafka_bootstrap: str, make: Callable[..., Any]
) -> None:
    threads = closing_threads(make, kafka_bootstrap)
    assert threads
    assert all(name.startswith(IO_THREADS) for name in threads), threads


def test_the_workaround_is_still_needed(kafka_bootstrap: str) -> None:
    threads = closing_threads(consumer, kafka_bootstrap, kafka_client=KafkaNetClient)
    assert threading.current_thread().name in threads, "remove kafka_python/closing.py"


@pytest.mark.parametrize("make", [consumer, producer, admin])
def test_a_client_can_be_closed_twice(kafka_bootstrap: str, make: Callable[..., Any]) -> None:
    client = make(kafka_bootstrap)
    client.close()
    client.close()
