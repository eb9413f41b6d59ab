"""The objects that attempts use: the sender, the worker and the lanes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from services.deliver.core.attempt.results import Outcome
from shared.stream.jobs import Job
from shared.stream.transactions import Output
from shared.topics.records import Envelope


class Sender(Protocol):
    """Attempts a delivery. A remote answer is a return value, never an exception."""

    def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Call `begin`. If it returns true, attempt the delivery once. Otherwise return None."""
        ...


class Settling(Protocol):
    """Accepts the outcomes of attempts. The worker implements this."""

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Finish a job with the records to write."""
        ...

    def name(self, job: Job, named: Callable[[bool], None]) -> None:
        """Record that a job is about to be offered.

        `named` may be called in any thread. Its argument is True when Kafka has the record, or
        False if the record cannot be written.
        """
        ...


class Lanes(Protocol):
    """The waiting messages of each lane, as in core/shaping/holds.py."""

    def handed(self, lane: str, jobs: Iterable[Job]) -> None:
        """Add jobs to the count of waiting jobs, because they were handed out."""
        ...

    def begun(self, lane: str, job: Job) -> None:
        """Stop counting a job, because it no longer waits."""
        ...


class NoLanes:
    """Counts nothing."""

    def handed(self, lane: str, jobs: Iterable[Job]) -> None:
        """Add jobs to the count of waiting jobs, because they were handed out."""

    def begun(self, lane: str, job: Job) -> None:
        """Stop counting a job, because it no longer waits."""
