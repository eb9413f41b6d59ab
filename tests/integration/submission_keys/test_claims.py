"""Claims of submission keys in a real Redis: which of two is the first, also under an old form."""

from __future__ import annotations

import threading
import time
from random import Random

import pytest
from msgspec.structs import replace

from shared.settings.sections import RedisSettings
from shared.store.client import connect
from shared.store.submissions import Submissions, Window
from shared.topics.submission_keys import (
    NEW,
    WITHDRAWN,
    Answer,
    Claim,
    Conflict,
    Duplicate,
    Reserved,
    encode_claims,
)
from tests.support.patience import PATIENT
from tests.support.submission_keys import (
    M1,
    M2,
    RESERVED,
    WINDOW,
    WITHDRAWN_1,
    Cases,
    Keys,
    answers,
    claim,
    prepare,
)

# All tests share the keys of mail.submissions: one worker at a time.
pytestmark = pytest.mark.xdist_group("submission-keys")
CLAIMS: Cases = {
    "a free key": ([], claim(1, 1), NEW),
    "another key": ([("claim", claim(2, 2))], claim(1, 1), NEW),
    "the same record again": ([("claim", claim(1, 1))], claim(1, 1), NEW),
    "the same content from elsewhere": ([("claim", claim(1, 1))], claim(1, 2), Duplicate(M1)),
    "the same mail id from elsewhere": ([("claim", claim(1, 1))], claim(1, 1, 9), Duplicate(M1)),
    "another content": ([("claim", claim(1, 1))], claim(1, 2, 0, b"diff"), Conflict(M1)),
    "reserved by itself": ([("reserve", claim(1, 1))], claim(1, 1), NEW),
    "reserved by one never written": ([("reserve", claim(1, 1))], claim(1, 2), NEW),
    "reserved for another content": ([("reserve", claim(1, 1))], claim(1, 2, 0, b"diff"), NEW),
    "withdrawn": ([RESERVED, WITHDRAWN_1], claim(1, 1), WITHDRAWN),
    "withdrawn, though Redis knew nothing of it": ([WITHDRAWN_1], claim(1, 1), WITHDRAWN),
    "withdrawn twice": ([RESERVED, WITHDRAWN_1, WITHDRAWN_1], claim(1, 1), WITHDRAWN),
    "withdrawn, another one read first": ([RESERVED, WITHDRAWN_1], claim(1, 2), NEW),
    "withdrawn by one of two that wait for it": (
        [RESERVED, RESERVED, WITHDRAWN_1],
        claim(1, 1),
        NEW,
    ),
    "withdrawn by both": (
        [RESERVED, RESERVED, WITHDRAWN_1, WITHDRAWN_1],
        claim(1, 1),
        WITHDRAWN,
    ),
    "withdrawn and handed in again": ([RESERVED, WITHDRAWN_1, RESERVED], claim(1, 1), NEW),
    "withdrawn, handed in again and withdrawn again": (
        [RESERVED, WITHDRAWN_1, RESERVED, WITHDRAWN_1],
        claim(1, 1),
        WITHDRAWN,
    ),
    "withdrawn under another mail id": ([RESERVED, ("withdraw", claim(1, 2))], claim(1, 1), NEW),
    "withdrawn for another content": (
        [RESERVED, ("withdraw", claim(1, 2, 0, b"diff"))],
        claim(1, 1),
        NEW,
    ),
    "withdrawn too late": ([("claim", claim(1, 1)), WITHDRAWN_1], claim(1, 1), NEW),
    "a second copy of one that was cancelled": (
        [RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))],
        claim(1, 1, 9),
        Duplicate(M1),
    ),
    "handed in again after it was cancelled": (
        [RESERVED, WITHDRAWN_1, ("claim", claim(1, 1))],
        claim(1, 2),
        NEW,
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_of_two_records_with_one_key_the_first_claim_goes_on(keys: Keys, name: str) -> None:
    before, asked, expected = CLAIMS[name]
    prepare(keys, before)
    assert answers(keys.store.claim([asked])) == (expected,)
    # The second answer is the same: the record may be read twice.
    assert answers(keys.store.claim([asked])) == (expected,)


def renamed(mail: int, place: int = 0, content: bytes = b"same", raw: bytes = b"same") -> Claim:
    """A claim of key 1, which an older version would have stored as key 9 with this raw content."""
    return replace(claim(1, mail, place, content), former=claim(9, mail).key + raw)


FORMERS: Cases = {
    "nothing stored": ([], renamed(1), NEW),
    "the same message under its old key": ([("claim", claim(9, 1))], renamed(2), Duplicate(M1)),
    "the same record, claimed and not committed": ([("claim", claim(9, 1))], renamed(1), NEW),
    "the same message, stored with other line ends": (
        [("claim", claim(9, 1, 0, b"bare"))],
        renamed(2, raw=b"bare"),
        Duplicate(M1),
    ),
    "another system's message under the old key": (
        [("claim", claim(9, 1, 0, b"diff"))],
        renamed(2),
        NEW,
    ),
    "old and new key": (
        [("claim", claim(9, 1, 0, b"diff")), ("claim", renamed(2))],
        renamed(3),
        Duplicate(M2),
    ),
    "another message under the new key": (
        [("claim", renamed(1))],
        renamed(2, content=b"diff", raw=b"diff"),
        Conflict(M1),
    ),
    "one key, stored with other line ends": (
        [("claim", claim(1, 1, 0, b"bare"))],
        replace(claim(1, 2), former=claim(1, 2).key + b"bare"),
        Duplicate(M1),
    ),
    "one key, another message stored": (
        [("claim", claim(1, 1, 0, b"diff"))],
        replace(claim(1, 2), former=claim(1, 2).key + b"bare"),
        Conflict(M1),
    ),
}


@pytest.mark.parametrize("name", FORMERS)
def test_what_an_older_version_stored_is_known(keys: Keys, name: str) -> None:
    before, asked, expected = FORMERS[name]
    prepare(keys, before)
    # Next to a key that was stored in only one form.
    for _ in range(2):
        assert answers(keys.store.claim([claim(5, 5), asked]))[1] == expected


def test_what_an_older_version_stored_ends_when_it_would_have(keys: Keys) -> None:
    made = int(time.time()) - 36 * 3600
    keys.client.hdel(keys.state, "generation")
    assert keys.store.begin("second") == "go"
    assert keys.store.restore("second", made, encode_claims([claim(9, 1)]))
    assert keys.store.finish("second")
    for _ in range(2):
        assert answers(keys.store.claim([renamed(2)])) == (Duplicate(M1),)
    found = [name for name in keys.client.scan_iter(keys.state + ":*") if name.count(b":") > 3]
    assert found
    for name in found:
        assert keys.client.ttl(name) <= 24 * 3600


def test_within_one_call_the_first_of_two_equal_keys_is_the_first(keys: Keys) -> None:
    found = keys.store.claim([claim(1, 1), claim(2, 3), claim(1, 2)])
    assert answers(found) == (NEW, NEW, Duplicate(M1))
    assert keys.door.reserve([claim(5, 1), claim(5, 2)]) == (NEW, Reserved(M1))


def test_of_many_claims_at_once_exactly_one_is_new(keys: Keys, redis_url: str) -> None:
    found: list[Answer] = []

    def run(number: int) -> None:
        client = connect(RedisSettings(url=redis_url), decode_responses=False, **PATIENT)
        store = Submissions(client, keys.state, WINDOW, "topic-1")
        for key in range(50):
            found.extend(answers(store.claim([claim(key, number)])))
        client.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert found.count(NEW) == 50


def test_every_key_ends_with_its_window(keys: Keys) -> None:
    keys.store.claim([claim(key, 1 + key) for key in range(100)])
    keys.door.reserve([claim(1_000, 1)])
    buckets = [name for name in keys.client.scan_iter(keys.state + ":*") if name.count(b":") > 3]
    assert buckets
    for name in buckets:
        assert 48 * 3600 < keys.client.ttl(name) <= 60 * 3600


def test_a_key_takes_less_than_forty_bytes_when_the_layout_fits(keys: Keys) -> None:
    client, full = keys.client, Window(48 * 3600, 400_000)
    store = Submissions(client, keys.state, full, "topic-1")
    random = Random(7)
    for _ in range(200):
        store.claim([Claim(random.randbytes(11), M1, b"abcd", 1 + n) for n in range(1_000)])
    names = list(client.scan_iter(keys.state + ":*", count=1_000))
    # Not the memory of the whole server, which other tests use too; 64: the entry of a key.
    used = sum(int(client.memory_usage(name, samples=0) or 0) + 64 for name in names)
    assert 11 < used / 200_000 < 40
