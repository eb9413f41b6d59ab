"""A server that refuses writes, as a full one or a replica does, is noticed without any work."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from shared.settings.sections import RedisSettings
from shared.store.apply_cells import Applied, ApplyCells, Run
from shared.store.client import StoreUnavailable, connect
from shared.store.submissions import Submissions
from tests.support.patience import PATIENT
from tests.support.redis_users import redis_user
from tests.support.submission_keys import WINDOW

COUNTED = Run("log-1", 0, -1, 5, (("2026-11", "shop", 1),))
EMPTY = Run("log-1", 0, 5, 5)


@pytest.fixture
def key() -> str:
    return f"{{test:{uuid.uuid4().hex}}}"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    found = connect(RedisSettings(url=redis_url), **PATIENT)
    yield found
    found.close()


@pytest.fixture
def reader(redis_url: str) -> Iterator[redis.Redis]:
    """A client whose writes the server refuses."""
    with redis_user(redis_url) as user:
        # Scripts are refused by what they do.
        user.change("-@write", "+eval", "+evalsha")
        with closing(connect(RedisSettings(url=user.url), **PATIENT)) as found:
            yield found


def test_a_run_without_events_notices_it_and_changes_nothing_otherwise(
    client: redis.Redis, reader: redis.Redis, key: str
) -> None:
    cells = ApplyCells(client, key)
    assert cells.run(COUNTED) == Applied()
    before: Any = client.hgetall(key)
    with pytest.raises(StoreUnavailable, match="permissions"):
        ApplyCells(reader, key).run(EMPTY)
    assert cells.run(EMPTY) == Applied()
    assert client.hgetall(key) == before


def test_the_submission_keys_notice_it_and_change_nothing_otherwise(
    client: redis.Redis, reader: redis.Redis, key: str
) -> None:
    with pytest.raises(StoreUnavailable, match="permissions"):
        Submissions(reader, key, WINDOW, "topic-1").require_writable()
    keys = Submissions(client, key, WINDOW, "topic-1")
    keys.require_writable()
    assert not list(client.scan_iter(f"{key}*"))
    assert keys.begin("token") == "go"
    keys.require_writable()
    assert keys.finish("token")
