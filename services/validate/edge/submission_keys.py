"""Asks Redis for duplicates of submissions, and requests a restore when the keys are lost.

Owns: the last claims of this worker, and the generation of the keys for which these claims were
made. Does not own: the keys (shared/store/submissions.lua), restoring them (key_restorer.py), the
handling of a duplicate (core/batch.py).

On failure: a claim is made before its transaction commits. If the record is read again, the worker
repeats the claim for the same place in the topic, so the answer is the same. While Redis is
unavailable, empty or only partly restored, NotReady is raised and nothing is consumed. If Redis
loses its data between a claim and the commit, the restorer waits for the transactions in progress
and reads their keys, too. In addition, this worker repeats the claims of its last batch before the
next batch. A failover to a replica without the last writes is detected, because Redis stores, for
each partition, the offset up to which claims were stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from shared.store.client import StoreUnavailable
from shared.store.submissions import Claimed, NotWhole, Renewed, Submissions
from shared.stream.relay import NotReady
from shared.topics.submission_keys import Answer, Claim, New

# A script blocks Redis for 7 µs per key.
MAX_KEYS: Final = 500


class Reader(Protocol):
    """Restores the keys (key_restorer.py)."""

    def store(self) -> Submissions | None:
        """Return the script for the current topic; None if the script must not be used."""
        ...

    def want(self) -> None:
        """Request a restore because the keys are not complete."""
        ...

    def fault(self) -> str:
        """Return the reason why store() returns None."""
        ...


class Run(Struct, frozen=True):
    """The claims of one batch, and the offset after the batch for each partition."""

    claims: Sequence[Claim]
    ends: Mapping[int, int]


class SubmissionKeys:
    """The keys as one worker sees them. Not thread-safe."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._generation = ""
        self._seen: dict[int, int] = {}
        self._last = Run((), {})

    def claim(self, run: Run) -> list[Answer]:
        """Return the answer to each claim. After NotReady, the caller may make the same claims
        again."""
        store = self._reader.store()
        if store is None:
            raise NotReady(self._reader.fault())
        try:
            answers = self._claim(store, run)
        except StoreUnavailable as error:
            raise NotReady(f"submission keys: {error}") from error
        taken = [
            claim
            for claim, answer in zip(run.claims, answers, strict=True)
            if isinstance(answer, New)
        ]
        self._last = Run(taken, run.ends)
        return answers

    def _claim(self, store: Submissions, run: Run) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, max(len(run.claims), 1), MAX_KEYS):
            part = run.claims[start : start + MAX_KEYS]
            is_last = start + MAX_KEYS >= len(run.claims)
            answers += self._part(store, part, run.ends if is_last else {})
        for partition, end in run.ends.items():
            self._seen[partition] = max(end, self._seen.get(partition, 0))
        return answers

    def _part(
        self, store: Submissions, claims: Sequence[Claim], ends: Mapping[int, int]
    ) -> Sequence[Answer]:
        match store.claim(claims, self._generation, self._seen, ends):
            case Claimed(generation, answers):
                self._generation = generation
                return answers
            case Renewed(generation):
                self._renew(store, generation)
                return self._part(store, claims, ends)
            case NotWhole():
                self._reader.want()
                raise NotReady("the submission keys are being restored")

    def _renew(self, store: Submissions, generation: str) -> None:
        """Repeat the claims of the last batch under the new generation, before any other claim."""
        before, self._generation, self._seen = self._generation, generation, {}
        if not self._last.claims:
            return
        try:
            self._claim(store, self._last)
        except (StoreUnavailable, NotReady):
            self._generation = before  # so Redis answers the next call with Renewed again
            raise
