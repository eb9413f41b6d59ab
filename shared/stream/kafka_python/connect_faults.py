"""Stores the reason why a client's connections fail, and slows down connection attempts.

Written for kafka-python 3.0.12. In this version, a client that cannot connect always raises "Unable
to bootstrap". The true reason (a wrong CA, an expired certificate, a refused password) is only in
the log, or is lost. Also, a connection that fails after the TCP connect (in TLS or SASL) resets the
back-off, so the client tries again without a pause, 2,000 times per second.

This module can be removed when KafkaConnectionManager itself stores the reason and keeps the
back-off; tests/integration/security/test_kafka_connections.py shows whether it does.
"""

from __future__ import annotations

from typing import Any

from kafka.errors import KafkaConnectionError, KafkaError

from shared.runtime.tcp import is_refusal, words_of


class CannotConnect(KafkaConnectionError):  # type: ignore[misc]
    """No broker can be used. The text contains the reason."""

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectFaults:
    """Stores the reason why the connections of one client fail, or "" after a success.

    A refusal (by TLS or login) stays the reason, even if a later attempt ends with a time-out.
    """

    def __init__(self, manager: Any) -> None:
        self.reason = ""
        self._manager = manager
        self._connect = manager._connect
        manager._connect = self._watched

    async def _watched(self, node: Any, conn: Any, **options: Any) -> None:
        await self._connect(node, conn, **{**options, "reset_backoff_on_connect": False})
        if conn.connected:
            self.reason = ""
            if options.get("reset_backoff_on_connect", True):
                self._manager.reset_backoff(node.node_id)
            return
        error = conn.init_future.exception if conn.init_future.is_done else None
        self._manager.update_backoff(node.node_id)
        if error is not None:
            reason = words_of(error)
            self.reason = (
                reason if is_refusal(reason) or not is_refusal(self.reason) else self.reason
            )

    def explained(self, error: KafkaError) -> KafkaError:
        """Return the error with the reason in its text."""
        return CannotConnect(self.reason) if self.reason else error
