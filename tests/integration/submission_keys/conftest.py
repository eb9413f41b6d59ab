"""Fixtures of the tests of submission keys: a real Redis, with complete and empty keys."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis

from shared.settings.sections import RedisSettings
from shared.store.client import connect
from shared.store.submissions import NotWhole, Reservations, Submissions
from tests.support.patience import PATIENT
from tests.support.submission_keys import WINDOW, Keys


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    found = connect(RedisSettings(url=redis_url), decode_responses=False, **PATIENT)
    yield found
    found.close()


@pytest.fixture
def keys(client: redis.Redis) -> Keys:
    """Complete and empty."""
    state = "{test:" + os.urandom(6).hex() + "}"
    store = Submissions(client, state, WINDOW, "topic-1")
    assert isinstance(store.claim([]), NotWhole)
    assert store.begin("first") == "go"
    assert store.finish("first")
    return Keys(client, state, store, Reservations(client, state))
