"""The parts that attempts work with, as far as they need them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from services.deliver.core.attempt.outcome import Outcome
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
        """Take the records to write with the outcome of a job."""
        ...

    def name(self, job: Job, named: Callable[[bool], None]) -> None:
        """Record that a job is about to be offered; `named` says, in any thread, how it ended."""
        ...


class Lanes(Protocol):
    """The messages of each lane that wait, as in core/shaping/lanes.py."""

    def handed(self, lane: str, jobs: Iterable[Job]) -> None:
        """These jobs were handed out."""
        ...

    def begun(self, lane: str, job: Job) -> None:
        """This job waits no longer."""
        ...


class NoLanes:
    """Nothing is known of lanes."""

    def handed(self, lane: str, jobs: Iterable[Job]) -> None:
        """These jobs were handed out."""

    def begun(self, lane: str, job: Job) -> None:
        """This job waits no longer."""
