"""submissions.lua: stores the keys of recent submissions, to recognise duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import redis
from msgspec import Struct

from shared.store.client import store_errors
from shared.store.eviction import Eviction
from shared.store.script import Script
from shared.topics.submission_keys import (
    MAIL_ID_BYTES,
    NEW,
    PLACE_BYTES,
    WITHDRAWN,
    Answer,
    Claim,
    Conflict,
    Duplicate,
    Reserved,
    encode_claims,
    encode_formers,
)

NAME: Final = "submissions"
# A field of the state: the server's count of evictions at the last check.
EVICTED: Final = "evicted"
# The number of keys of a slot that share a hash. Redis packs hashes of up to 128 fields.
KEYS_PER_BUCKET: Final = 80
SLOTS_PER_DAY: Final = 2
_ANSWER_BYTES: Final = 1 + MAIL_ID_BYTES
# The kinds of answers by their first letter. New is missing here, because nearly all answers are
# New and are decoded without this table.
_KINDS: Final[dict[int, Callable[[bytes], Answer]]] = {
    ord("R"): Reserved,
    ord("D"): Duplicate,
    ord("C"): Conflict,
    ord("W"): lambda _: WITHDRAWN,
}


class Window(Struct, frozen=True):
    """The time for which keys are kept, and the expected number of keys per day."""

    seconds: int
    keys_per_day: int

    @property
    def buckets(self) -> int:
        """Return the number of hashes for the keys of one slot."""
        return max(1, self.keys_per_day // (SLOTS_PER_DAY * KEYS_PER_BUCKET))


class Claimed(Struct, frozen=True):
    """The result of claim(): the answers, and the generation of the keys."""

    generation: str
    answers: tuple[Answer, ...]


class Renewed(Struct, frozen=True):
    """Nothing was done, because the keys were restored after the last call.

    The latest claims must be sent again.
    """

    generation: str


class NotWhole(Struct, frozen=True):
    """Nothing was done, because the keys are incomplete and must be restored first."""


class Submissions:
    """Calls the script for the validate service, on a Redis client that does not decode replies.

    `log` is the id of the topic from which the keys can be restored.
    """

    def __init__(self, client: redis.Redis, state: str, window: Window, log: str) -> None:
        self._client = client
        self._script = Script(client, NAME)
        self._keys = _keys(state)
        self._common = (_short(log), window.seconds, window.buckets)

    def is_of(self, log: str) -> bool:
        """Return True if `log` is the id of the topic from which the keys can be restored."""
        return self._common[0] == _short(log)

    def claim(
        self,
        claims: Sequence[Claim],
        generation: str = "",
        seen: Mapping[int, int] | None = None,
        ends: Mapping[int, int] | None = None,
    ) -> Claimed | Renewed | NotWhole:
        """Claim keys. Raises StoreUnavailable; the same claims may then be sent again.

        `seen` has, by partition, the offset up to which this caller's claims were answered in
        `generation`. `ends` has, by partition, the offset up to which the claims are answered after
        this call.
        """
        offsets = _pairs(seen or {}), _pairs(ends or {})
        entries = encode_claims(claims), encode_formers(claims)
        status, found, *rest = self._run("claim", generation, *offsets, *entries)
        if status == 0:
            return NotWhole()
        if status == 2:
            return Renewed(found.decode())
        return Claimed(found.decode(), _answers(rest[0]))

    def begin(self, token: str) -> Literal["go", "whole", "taken"]:
        """Begin to restore the keys. Raises StoreUnavailable."""
        found = self._run("begin", token)
        return "go" if found == 1 else "whole" if found == 0 else "taken"

    def restore(self, token: str, at_s: int, claims: bytes) -> bool:
        """Restore encoded claims of the time `at_s`; return whether the token is still valid."""
        return bool(self._run("restore", token, at_s, claims) == 1)

    def finish(self, token: str) -> bool:
        """Mark the keys as complete after restoring; return whether the token was still valid."""
        return bool(self._run("finish", token) == 1)

    def forget_evicted(self, found: Eviction) -> bool:
        """Return whether the server has evicted keys since the last call by any process.

        If keys were evicted, mark the keys as incomplete. Raises StoreUnavailable.
        """
        state, mark = self._keys[0], found.mark
        with store_errors():
            noted = self._client.hget(state, EVICTED)
            if noted == mark.encode():
                return False
            with self._client.pipeline(transaction=True) as steps:
                steps.hset(state, EVICTED, mark)
                if found.evicted:
                    steps.hdel(state, "generation")
                steps.execute()
        return found.evicted > 0

    def require_writable(self) -> None:
        """Check that the server accepts writes; no data is changed.

        Raises StoreUnavailable if the server is full, is a replica, or cannot save writes to disk.
        """
        with store_errors():
            # A server that accepts no writes refuses this command; other servers write zero octets.
            self._client.setrange(self._keys[1], 0, "")

    def _run(self, verb: str, *arguments: str | int | bytes) -> Any:
        return self._script.run(self._keys, (verb, *self._common, *arguments))


class Reservations:
    """Calls the script for the front door, on a Redis client that does not decode replies."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._keys = _keys(state)

    def reserve(self, claims: Sequence[Claim]) -> tuple[Answer, ...]:
        """Reserve keys for messages that will be written; return () while the keys are incomplete.

        Raises StoreUnavailable.
        """
        return self._run("reserve", claims)

    def withdraw(self, claims: Sequence[Claim]) -> tuple[Answer, ...]:
        """Withdraw reservations; the answer is Duplicate if the key was already claimed.

        Return () while the keys are incomplete. Call withdraw() only once per reservation. Raises
        StoreUnavailable.
        """
        return self._run("withdraw", claims)

    def _run(self, verb: str, claims: Sequence[Claim]) -> tuple[Answer, ...]:
        entries = b"".join([encode_claims((claim,))[:-PLACE_BYTES] for claim in claims])
        status, _, *rest = self._script.run(self._keys, (verb, "", "", "", entries))
        return _answers(rest[0]) if status == 1 else ()


def _short(log: str) -> str:
    return hashlib.blake2b(log.encode(), digest_size=4).hexdigest()


def _keys(state: str) -> tuple[str, str]:
    return state, state + ":restoring"


def _pairs(offsets: Mapping[int, int]) -> str:
    return " ".join(f"{partition}:{offset}" for partition, offset in offsets.items())


def _answers(octets: bytes) -> tuple[Answer, ...]:
    return tuple(
        [
            NEW
            if (kind := _KINDS.get(octets[at])) is None
            else kind(octets[at + 1 : at + _ANSWER_BYTES])
            for at in range(0, len(octets), _ANSWER_BYTES)
        ]
    )
