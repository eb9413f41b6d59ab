"""The eviction policy of a real server, read by users with different permissions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from shared.settings.sections import RedisSettings
from shared.store.client import StoreUnavailable, connect
from shared.store.eviction import (
    SAFE_POLICY,
    UNKNOWN,
    Eviction,
    policy_client,
    policy_fault,
    read_eviction,
)


@pytest.fixture
def user(redis_url: str) -> Iterator[str]:
    """A user of the shared server with all permissions; tests deny commands."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    client: Any = connect(RedisSettings(url=redis_url))
    client.execute_command("ACL", "SETUSER", name, "on", ">secret", "~*", "+@all")
    yield name
    client.execute_command("ACL", "DELUSER", name)
    client.close()


def as_user(redis_url: str, name: str, *forbidden: str) -> redis.Redis:
    admin: Any = connect(RedisSettings(url=redis_url))
    for command in forbidden:
        admin.execute_command("ACL", "SETUSER", name, f"-{command}")
    admin.close()
    parts = urlsplit(redis_url)
    url = urlunsplit(parts._replace(netloc=f"{name}:secret@{parts.netloc}"))
    return policy_client(RedisSettings(url=url))


@pytest.mark.parametrize("forbidden", [(), ("config",), ("info",)], ids=["all", "INFO", "CONFIG"])
def test_the_policy_is_read_by_whichever_command_is_allowed(
    redis_url: str, user: str, forbidden: tuple[str, ...]
) -> None:
    client = as_user(redis_url, user, *forbidden)
    found = read_eviction(client)
    assert (found.policy, found.fault) == (SAFE_POLICY, "")
    assert policy_fault(client) == ""
    client.close()


def test_a_user_who_may_not_read_the_policy_is_no_reason_to_trust_it(
    redis_url: str, user: str
) -> None:
    client = as_user(redis_url, user, "config", "info")
    assert policy_fault(client) == UNKNOWN
    assert "INFO" in UNKNOWN
    client.close()


def test_a_server_that_does_not_answer_is_not_a_fault_of_its_policy() -> None:
    client = policy_client(RedisSettings(url="redis://127.0.0.1:1/0"))
    with pytest.raises(StoreUnavailable):
        read_eviction(client)
    assert policy_fault(client) == ""
    client.close()


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "allkeys-lfu"])
def test_any_other_policy_is_named_in_the_fault(policy: str) -> None:
    fault = Eviction(policy, "run", 0).fault
    assert policy in fault
    assert SAFE_POLICY in fault
