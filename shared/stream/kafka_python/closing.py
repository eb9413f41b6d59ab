"""Closes a client's connections on its I/O thread.

Written for kafka-python 3.0.12. Its KafkaNetClient.close() closes the sockets on the calling
thread, but the I/O thread may be receiving data from one of them. The I/O thread then logs "Error
receiving network data ... 'NoneType' object has no attribute 'recv'" with a traceback. Because the
I/O thread does all other work on a connection, closing on that thread avoids the race.

If a consumer or an admin client finds no broker, its constructor raises an error, but its I/O
thread runs forever. So a process that waits for Kafka would collect hundreds of threads.
make_client() ends this thread.

Both workarounds can be removed when tests/integration/test_kafka_client_closing.py shows that
KafkaNetClient itself closes on the I/O thread and ends that thread.
"""

from __future__ import annotations

import threading
from typing import Any

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from shared.stream.kafka_python.bootstrapping import spread_attempts
from shared.stream.kafka_python.connect_faults import ConnectFaults
from shared.stream.kafka_python.last_words import keep_last_words


class ClosingClient(KafkaNetClient):  # type: ignore[misc]
    """The network part of a consumer, producer or admin client. Pass it as `kafka_client`.

    `faults` contains the reason if the client cannot connect.
    """

    _net: Any
    _manager: Any

    def __init__(self, **config: Any) -> None:
        keep_last_words()
        super().__init__(**config)
        spread_attempts(self._manager)
        self.faults = ConnectFaults(self._manager)

    def close(self, node_id: Any = None) -> None:
        """Close one connection, or all connections and the I/O thread. May be called twice."""
        thread = self._net._io_thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            try:
                self._net.run(self._manager.close, node_id)
            except Exception:
                # The I/O thread has just ended, so no other thread uses the connections now.
                self._manager.close(node_id)
        else:
            self._manager.close(node_id)
        if node_id is None:
            self._net.close()


def make_client(kind: Any, **config: Any) -> Any:
    """Create a Kafka client. Raises kafka.errors.KafkaError with the reason."""
    kind_of_network = config.get("kafka_client", ClosingClient)
    begun: list[Any] = []

    def begin(**options: Any) -> Any:
        begun.append(kind_of_network(**options))
        return begun[0]

    try:
        return kind(**{**config, "kafka_client": begin})
    except BaseException as error:
        for network in begun:
            network.close()
            if isinstance(error, KafkaError) and isinstance(network, ClosingClient):
                raise network.faults.explained(error) from error
        raise
