"""Asks Redis whether a submission came before, and has the keys read back when they are lost.

Owns: what this worker claimed last and under which generation of the keys. Does not own: the
keys (shared/store/submissions.lua), reading them back (keys_reader.py), what follows from a
repeat (core/batch.py).

When it fails: a claim is made before its transaction commits, and made again by whoever reads
the record again: the same place, so it is answered alike. Redis away, empty or half read back:
NotReady, nothing is consumed. Redis emptied between a claim and its commit: the reader waits
for what is under way and reads it with the rest; and this worker claims its last batch again
before the next. A replica that took over without the last writes is noticed by the offset up
to which the claims of each partition were in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from shared.store.client import StoreUnavailable
from shared.store.submissions import Claimed, NotWhole, Renewed, Submissions
from shared.stream.relay import NotReady
from shared.topics.submission_keys import Answer, Claim, New

# A script holds Redis up for 7 us a key.
MAX_KEYS: Final = 500


class Reader(Protocol):
    """Reads the keys back (keys_reader.py)."""

    def store(self) -> Submissions | None:
        """The script on the topic as it is now; None where it must not be used."""
        ...

    def want(self) -> None:
        """The keys are not whole: read them back."""
        ...

    def fault(self) -> str:
        """Why there is no store."""
        ...


class Run(Struct, frozen=True):
    """The claims of one batch, and the offset after it of each partition it was read from."""

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
        """The answer to each claim. Raises NotReady; the same claims may then come again."""
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
                raise NotReady("the submission keys are being read back")

    def _renew(self, store: Submissions, generation: str) -> None:
        """Claim the last batch under the new generation before anything else."""
        before, self._generation, self._seen = self._generation, generation, {}
        if not self._last.claims:
            return
        try:
            self._claim(store, self._last)
        except (StoreUnavailable, NotReady):
            self._generation = before  # so that the next call is told to do it again
            raise
