"""A Valkey behind TLS, with an ACL user for the services and no other.

The Valkey of the wheel is built without TLS, so tls_front.py adds TLS.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from local.parts import ports, redis_server
from local.parts.redis_server import RedisPlan
from local.process import Process
from tests.support.authority import Authority
from tests.support.patience import PATIENCE_S
from tests.support.tls_front import context_of, tls_front

USER, PASSWORD = "sluice", "valkey secret #1"
# docs/security.md has this rule.
RULE = "resetkeys ~{sluice:* -@all +@read +@write +@connection +@scripting +info +time"


@contextmanager
def running(folder: Path, authority: Authority, *, is_mutual: bool = False) -> Iterator[str]:
    """Run a server; yield its rediss:// URL without a login."""
    authority.issue("valkey")
    plan = RedisPlan(folder, ports.free_ports(1)[0])
    process = Process(redis_server.prepare(plan), folder / "redis.log")
    try:
        admin = _wait(plan.url, process)
        admin.execute_command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", *RULE.split())
        admin.execute_command("ACL", "SETUSER", "default", "off")
        admin.close()
        with tls_front(plan.port, context_of(authority, "valkey", is_mutual=is_mutual)) as port:
            yield f"rediss://127.0.0.1:{port}/0"
    finally:
        process.end(5)


def _wait(url: str, process: Process) -> Any:
    ends_at = time.monotonic() + PATIENCE_S
    client = redis.Redis.from_url(url)
    while True:
        try:
            client.ping()
            return client
        except redis.RedisError:
            assert process.runs, process.log_tail()
            assert time.monotonic() < ends_at, process.log_tail()
            time.sleep(0.05)
