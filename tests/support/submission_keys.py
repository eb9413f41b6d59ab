"""Submission keys in a real Redis, and the claims of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import redis
from msgspec import Struct

from shared.store.submissions import Claimed, Reservations, Submissions, Window
from shared.topics.submission_keys import Answer, Claim

WINDOW = Window(48 * 3600, 10_000)


class Keys(Struct, frozen=True):
    client: redis.Redis
    state: str
    store: Submissions
    door: Reservations


def claim(key: int, mail: int, place: int = 0, content: bytes = b"same") -> Claim:
    return Claim(Random(key).randbytes(11), mail.to_bytes(16, "big"), content, place or mail)


def answers(found: object) -> tuple[Answer, ...]:
    assert isinstance(found, Claimed)
    return found.answers


def prepare(keys: Keys, before: Sequence[tuple[str, Claim]]) -> None:
    for verb, made in before:
        if verb == "claim":
            keys.store.claim([made])
        elif verb == "reserve":
            keys.door.reserve([made])
        else:
            keys.door.withdraw([made])


M1, M2 = (1).to_bytes(16, "big"), (2).to_bytes(16, "big")
# The previous commands, then the request and its answer.
Cases = dict[str, tuple[list[tuple[str, Claim]], Claim, Answer]]
RESERVED, WITHDRAWN_1 = ("reserve", claim(1, 1)), ("withdraw", claim(1, 1))
