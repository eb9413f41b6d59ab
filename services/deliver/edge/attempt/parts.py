"""The collaborators of attempts: the sender, the worker and the lanes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from services.deliver.core.attempt.results import Outcome
from shared.stream.jobs import Job
from shared.stream.transactions import Output
from shared.topics.records import Envelope


class Sender(Protocol):
    """Attempts a delivery; a remote answer is a value, never an exception."""

    def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Attempt once if `begin`, called just before, returns true; otherwise return None."""
        ...


class Settling(Protocol):
    """Takes the outcomes: the worker."""

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Settle a job with the records to write."""
        ...

    def name(self, job: Job, named: Callable[[bool], None]) -> None:
        """Record that a job is about to be offered.

        `named` is called, in any thread, with True once that is on record, or with False.
        """
        ...


class Lanes(Protocol):
    """The waiting messages of each lane, as in core/shaping/holds.py."""

    def handed(self, lane: str, jobs: Iterable[Job]) -> None:
        """Count jobs that were handed out."""
        ...

    def begun(self, lane: str, job: Job) -> None:
        """Count off a job that no longer waits."""
        ...


class NoLanes:
    """Counts nothing."""

    def handed(self, lane: str, jobs: Iterable[Job]) -> None:
        """Count jobs that were handed out."""

    def begun(self, lane: str, job: Job) -> None:
        """Count off a job that no longer waits."""
