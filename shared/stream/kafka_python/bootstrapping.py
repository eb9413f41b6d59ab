"""Asks another bootstrap server if the first one does not answer.

Written for kafka-python 3.0.12. Its bootstrap chooses one of the bootstrap servers at random, and
waits for this server until the bootstrap times out. If one of three brokers stands still (its
kernel still accepts connections), every third new client fails. A command or a service that creates
several clients then fails nearly always, although the other brokers answer.

Here an attempt takes at most ATTEMPT_S, and a server that has failed is not chosen again for
AVOID_S, also by other clients of the process. If all servers have failed, all servers are tried. A
single server gets the whole time.

The workaround can be removed when tests/integration/test_silent_broker.py passes without it.
"""

from __future__ import annotations

from typing import Any, Final

from shared.runtime.clock import monotonic

# The time for an attempt at one of several servers: to connect, to log in, and to get an answer.
ATTEMPT_S: Final = 2.0
AVOID_S: Final = 10.0

# The times of the last failures in this process, by host and port. The keys are the servers of the
# settings, so there are few.
_failed_at: dict[tuple[str, int], float] = {}


def spread_attempts(manager: Any) -> None:
    """Let the bootstrap of a client try all its servers. `manager` is its connection manager."""
    if len(manager.cluster.bootstrap_brokers()) > 1:
        manager._connect = _Attempts(manager).connect


class _Attempts:
    """The attempts of one client to reach its bootstrap servers."""

    def __init__(self, manager: Any) -> None:
        self._connect = manager._connect
        self._is_server = manager.cluster.is_bootstrap
        self._servers = manager.cluster.bootstrap_brokers
        manager.cluster.bootstrap_brokers = self._preferred

    def _preferred(self) -> list[Any]:
        """Return the servers that have not failed lately, or all servers if all have failed."""
        now, servers = monotonic(), self._servers()
        found = [
            each
            for each in servers
            if now >= _failed_at.get((each.host, each.port), -AVOID_S) + AVOID_S
        ]
        return found or list(servers)

    async def connect(
        self, node: Any, conn: Any, timeout_at: float | None = None, **options: Any
    ) -> None:
        if not self._is_server(node.node_id):
            await self._connect(node, conn, timeout_at=timeout_at, **options)
            return
        end = monotonic() + ATTEMPT_S
        timeout_at = end if timeout_at is None else min(timeout_at, end)
        await self._connect(node, conn, timeout_at=timeout_at, **options)
        if conn.connected:
            _failed_at.pop((node.host, node.port), None)
        else:
            _failed_at[node.host, node.port] = monotonic()
