"""The eviction policy of a real server, read by users with different permissions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from shared.settings.sections import RedisSettings
from shared.store.client import StoreUnavailable
from shared.store.eviction import (
    SAFE_POLICY,
    UNKNOWN,
    Eviction,
    policy_client,
    policy_fault,
    read_eviction,
)
from tests.support.redis_users import RedisUser, redis_user


@pytest.fixture
def user(redis_url: str) -> Iterator[RedisUser]:
    """A user of the shared server with all permissions; tests deny commands."""
    with redis_user(redis_url) as found:
        yield found


def without(user: RedisUser, *forbidden: str) -> redis.Redis:
    user.change(*(f"-{command}" for command in forbidden))
    return policy_client(RedisSettings(url=user.url))


@pytest.mark.parametrize("forbidden", [(), ("config",), ("info",)], ids=["all", "INFO", "CONFIG"])
def test_the_policy_is_read_by_whichever_command_is_allowed(
    user: RedisUser, forbidden: tuple[str, ...]
) -> None:
    client = without(user, *forbidden)
    found = read_eviction(client)
    assert (found.policy, found.fault) == (SAFE_POLICY, "")
    assert policy_fault(client) == ""
    client.close()


def test_a_user_who_may_not_read_the_policy_is_no_reason_to_trust_it(user: RedisUser) -> None:
    client = without(user, "config", "info")
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
