"""Every store of cells, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from shared.settings.sections import RedisSettings
from shared.store.client import connect
from tests.support.billing.stores import Store, memory_store, postgresql_store, redis_store
from tests.support.patience import PATIENT
from tests.support.postgresql import Postgresql, postgresql


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with postgresql() as found:
        yield found


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator[redis.Redis]:
    found = connect(RedisSettings(url=redis_url), **PATIENT)
    yield found
    found.close()


@pytest.fixture(params=["memory", "redis", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return memory_store()
    if request.param == "postgresql":
        return postgresql_store(request.getfixturevalue("server"))
    return redis_store(request.getfixturevalue("client"))
