"""What the front door learns of a key before it writes, without Redis too."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import redis

from services.ingest.edge.front_door import reservations
from services.ingest.edge.front_door.reservations import ReservedKeys
from shared.settings.sections import RedisSettings
from shared.store.submissions import Submissions
from shared.topics import ids
from shared.topics.submission_keys import NEW, Conflict, Duplicate, Reserved
from tests.support.submission_keys import (
    M1,
    RESERVED,
    WINDOW,
    WITHDRAWN_1,
    Cases,
    Keys,
    answers,
    claim,
    prepare,
)
from tests.support.submissions import MESSAGE, OWN

# All tests share the keys of mail.submissions: one worker at a time.
pytestmark = pytest.mark.xdist_group("submission-keys")
RESERVATIONS: Cases = {
    "a free key": ([], claim(1, 1), NEW),
    "reserved, nobody knows whether written": (
        [("reserve", claim(1, 1))],
        claim(1, 2),
        Reserved(M1),
    ),
    "reserved for another content, never written": (
        [("reserve", claim(1, 1))],
        claim(1, 2, 0, b"diff"),
        NEW,
    ),
    "written": ([("claim", claim(1, 1))], claim(1, 2), Duplicate(M1)),
    "written, another content": ([("claim", claim(1, 1))], claim(1, 2, 0, b"diff"), Conflict(M1)),
    "withdrawn, nobody knows whether written": (
        [RESERVED, WITHDRAWN_1],
        claim(1, 2),
        Reserved(M1),
    ),
    "withdrawn, another content": ([RESERVED, WITHDRAWN_1], claim(1, 2, 0, b"diff"), NEW),
    "cancelled": ([RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))], claim(1, 2), NEW),
}


@pytest.mark.parametrize("name", RESERVATIONS)
def test_the_front_door_learns_of_the_first_before_it_writes(keys: Keys, name: str) -> None:
    before, asked, expected = RESERVATIONS[name]
    prepare(keys, before)
    assert keys.door.reserve([asked]) == (expected,)


WITHDRAWALS: Cases = {
    "reserved": ([RESERVED], claim(1, 1), NEW),
    "unknown": ([], claim(1, 1), NEW),
    "read meanwhile": ([RESERVED, ("claim", claim(1, 1))], claim(1, 1), Duplicate(M1)),
    "the same content read meanwhile": ([("claim", claim(1, 1))], claim(1, 2), Duplicate(M1)),
    "another content read meanwhile": ([("claim", claim(1, 1))], claim(1, 2, 0, b"diff"), NEW),
    "cancelled meanwhile": ([RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))], claim(1, 1), NEW),
}


@pytest.mark.parametrize("name", WITHDRAWALS)
def test_who_withdraws_learns_whether_it_goes_on_all_the_same(keys: Keys, name: str) -> None:
    before, asked, expected = WITHDRAWALS[name]
    prepare(keys, before)
    assert keys.door.withdraw([asked]) == (expected,)


def test_what_very_many_wait_for_is_counted_no_more_and_goes_on(keys: Keys) -> None:
    prepare(keys, [RESERVED] * 300 + [WITHDRAWN_1] * 300)
    assert answers(keys.store.claim([claim(1, 1)])) == (NEW,)


@pytest.fixture(params=["nobody there", "says nothing"])
def lame_redis(request: pytest.FixtureRequest) -> Iterator[RedisSettings]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "says nothing":
            server.listen()
        yield RedisSettings(url=f"redis://127.0.0.1:{server.getsockname()[1]}/0")


def test_without_redis_every_message_is_new_to_the_front_door(lame_redis: RedisSettings) -> None:
    keys = ReservedKeys(lame_redis)
    for _ in range(2):  # the second is not even requested
        assert list(keys.reserve([MESSAGE, MESSAGE])) == [NEW, NEW]


def test_the_front_door_asks_again_once_redis_is_whole(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "TIMEOUT_S", 60.0)
    state = "{test:" + os.urandom(6).hex() + "}"
    keys = ReservedKeys(RedisSettings(url=redis_url, submissions_key=state))
    assert list(keys.reserve([MESSAGE])) == [NEW]
    store = Submissions(client, state, WINDOW, "topic-1")
    store.begin("first")
    store.finish("first")
    assert list(keys.reserve([MESSAGE, MESSAGE])) == [NEW, Reserved(ids.to_bytes(OWN))]
