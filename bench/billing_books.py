"""Measures the time and memory that the books of the billing service need for a large month.

Each step runs in a separate process, with a real Kafka and the store. These are the steps: write a
checkpoint; close the month; verify the statement; recount the cells from events; archive the
statement, and verify it in the archive; restore lost cells. The events are generated during the
step and not read from Kafka. So the figures of verifying and recounting do not include the cost of
reading.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from bench.processes import watching
from cli.stack import paths
from local.stack import Stack, StackOptions
from services.billing.core.month import Months
from services.billing.core.usage import count
from services.billing.edge.archive import Archive, Gap
from services.billing.edge.archive_writing import ArchiveWriter
from services.billing.edge.cells import Cells, open_cells
from services.billing.edge.log_ends import LogEnds
from services.billing.edge.recounting import recount
from services.billing.edge.statements.checkpointing import Checkpointer, restore
from services.billing.edge.statements.closing import Closer, ClosingParts
from services.billing.edge.statements.topic import StatementTopic
from services.billing.edge.verifying import verify
from services.billing.settings import BillingSettings
from shared.runtime.clock import FakeClock
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.apply_cells import Applied, Run
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions
from shared.topics.codec import encode_event
from shared.topics.configs import state
from shared.topics.ids import derive
from shared.topics.names import STATEMENTS, TopicPlan
from shared.topics.records import EventType, MailEvent

LOG: Final = "bench"
MONTH: Final = "2026-10"
NOON_MS: Final = 1_790_856_000_000  # 2026-10-01T12:00Z
NOVEMBER_MS: Final = 1_794_744_000_000
DAY_MS: Final = 86_400_000
DAYS: Final = 20
CELLS_PER_EVENT: Final = 3  # The counters delivered, billed and bytes.
MEMORY_BAR: Final = 150  # A step may add this much memory, in MiB.
_RUN: Final = 5_000
_RECORD_BYTES: Final = 8 * 1024 * 1024
_MONTHS: Final = Months(UTC)


class Step(Struct, frozen=True):
    """One step: its time in seconds, and in MiB the memory before the step and the largest increase
    during the step."""

    name: str
    seconds: float
    memory_before: int
    memory_added: int


class Result(Struct, frozen=True):
    """The measurements."""

    store: str
    cells: int
    steps: list[Step]

    @property
    def holds(self) -> bool:
        """Return True if no step adds more memory than MEMORY_BAR."""
        return all(each.memory_added <= MEMORY_BAR for each in self.steps)


class Parts(Struct, frozen=True):
    """The addresses of the servers, for the process that runs a step."""

    kafka: str
    redis: str
    postgresql: str
    cells_key: str
    events: int
    folder: str


class _Record(Struct):
    headers: Sequence[tuple[str, bytes]]
    value: bytes
    timestamp: int


class _Events:
    """The events from which the cells are counted. Each event is generated when it is read."""

    def __init__(self, number: int) -> None:
        self.number = number

    def id(self) -> str:
        return LOG

    def begins(self) -> dict[int, int]:
        return {0: 0}

    def committed_ends(self) -> dict[int, int]:
        return {0: self.number}

    written_ends = committed_ends

    def gaps(self) -> list[Gap]:
        return []

    def ask(self) -> LogEnds:
        return LogEnds(LOG, {0: self.number})

    def read(self, ends: Mapping[int, int]) -> Iterator[tuple[int, Sequence[Any]]]:
        for begin in range(0, self.number, _RUN):
            yield 0, [_event(n) for n in range(begin, min(begin + _RUN, self.number))]


def _event(number: int) -> _Record:
    mailing, day = divmod(number, DAYS)
    at_ms = NOON_MS + day * DAY_MS
    data = MailEvent(
        f"client-{mailing % 100}",
        f"mailing-{mailing}",
        at_ms=at_ms,
        first_dispatch=True,
        first_dispatched_at_ms=at_ms,
        size_bytes=10_000,
    )
    mail_id = derive(LOG, 0, number, at_ms)
    _, value, headers = encode_event(EventType.DELIVERED, mail_id, data, "deliver")
    return _Record(headers, value, at_ms)


def measure(cells: int, postgresql: str = "", only: Sequence[str] = ()) -> Result:
    """Measure all steps, or only the steps `only`, with this number of cells.

    Raises PartNotStarted if Kafka or Redis cannot be started, and UsageError if a step is unknown.
    """
    chosen = _chosen(only)
    name = f"bench-{uuid.uuid4().hex[:8]}"
    stack = Stack(StackOptions(name=name, services=(), sink=False))
    folder = tempfile.mkdtemp(prefix="sluice-bench-")
    stack.start()
    try:
        plan = TopicPlan(STATEMENTS, 1, state(_RECORD_BYTES))
        ensure_topics(KafkaSettings(bootstrap=stack.endpoints.kafka), [plan])
        parts = Parts(
            kafka=stack.endpoints.kafka,
            redis=stack.endpoints.redis,
            postgresql=postgresql,
            cells_key=f"{{{name}}}:cells",
            events=cells // CELLS_PER_EVENT,
            folder=folder,
        )
        _fill(_open(parts), parts.events)
        steps = [_in_process(each, parts) for each in chosen]
    finally:
        stack.stop()
        shutil.rmtree(paths.run_folder(name), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    return Result("postgresql" if postgresql else "redis", parts.events * CELLS_PER_EVENT, steps)


def _open(parts: Parts) -> Cells:
    settings = BillingSettings(
        store="postgresql" if parts.postgresql else "redis",
        postgresql_url=parts.postgresql,
        cells_key=parts.cells_key,
    )
    return open_cells(settings, RedisSettings(url=parts.redis))


def _fill(cells: Cells, events: int) -> None:
    mark = -1
    for _, records in _Events(events).read({}):
        target = max(mark, 0) + len(records)
        run = Run(LOG, 0, mark, target, count(records, _MONTHS).increments())
        if not isinstance(cells.apply(run), Applied):
            raise RuntimeError("the store has other counts")  # noqa: TRY004
        mark = target


@contextmanager
def _topic(parts: Parts, *, keeps_cells: bool = False) -> Iterator[StatementTopic]:
    with closing(
        StatementTopic(ClientOptions(parts.kafka, "bench"), keeps_cells=keeps_cells)
    ) as it:
        yield it


def _checkpoint(parts: Parts) -> bool:
    with _topic(parts) as topic:
        clock = FakeClock(NOVEMBER_MS)
        return Checkpointer(_open(parts), topic, clock, Failpoints.none()).write()


def _close(parts: Parts) -> bool:
    with _topic(parts) as topic:
        closer = Closer(
            ClosingParts(
                cells=_open(parts),
                topic=topic,
                ends=_Events(parts.events),
                months=_MONTHS,
                time_zone="UTC",
                clock=FakeClock(NOVEMBER_MS),
                failpoints=Failpoints.none(),
            )
        )
        return closer.close(MONTH, "command").lines == parts.events * CELLS_PER_EVENT


def _verify(parts: Parts) -> bool:
    with _topic(parts) as topic:
        topic.read()
        return verify(MONTH, topic.chain, _Events(parts.events), lambda _: _MONTHS).proved


def _recount(parts: Parts) -> bool:
    return recount(_Events(parts.events), _open(parts), _MONTHS).agree


def _archive(parts: Parts) -> bool:
    with _topic(parts) as topic:
        topic.read()
        writer = ArchiveWriter(Path(parts.folder), LOG, _MONTHS, dict)
        writer.add_statement(topic.chain.closed[MONTH])
    chain = Archive(Path(parts.folder)).chain()
    return verify(MONTH, chain, _Events(parts.events), lambda _: _MONTHS).proved


def _restore(parts: Parts) -> bool:
    # Restore the cells into another store, which is empty.
    cells = _open(structs.replace(parts, cells_key=f"{parts.cells_key}:restored"))
    with _topic(parts, keeps_cells=True) as topic:
        return restore(cells, topic) and cells.read().watermarks == {0: parts.events}


_STEPS: Final[dict[str, Callable[[Parts], bool]]] = {
    "write a checkpoint": _checkpoint,
    "close the month": _close,
    "verify the statement": _verify,
    "recount": _recount,
    "archive the statement and verify it from there": _archive,
    "restore lost cells": _restore,
}


def _chosen(only: Sequence[str]) -> list[str]:
    for each in only:
        if each not in _STEPS:
            known = ", ".join(map(repr, _STEPS))
            raise UsageError(f"--only: {each!r} was found, one of {known} is expected")
    return [each for each in _STEPS if not only or each in only]


def _in_process(name: str, parts: Parts) -> Step:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (name, parts))


def _run(name: str, parts: Parts) -> Step:
    began = time.monotonic()
    with watching() as watch:
        is_well = _STEPS[name](parts)
    seconds = round(time.monotonic() - began, 1)
    if not is_well:
        raise RuntimeError(f"{name}: failed")
    return Step(name, seconds, watch.first, watch.most - watch.first)


def described(result: Result) -> str:
    """Return the result as text for people."""
    return "\n".join(
        [
            f"{result.cells:,} cells in {result.store}",
            *(
                f"{each.name}: {each.seconds} s, {each.memory_before} MiB before,"
                f" {each.memory_added} MiB more (bar {MEMORY_BAR})"
                for each in result.steps
            ),
        ]
    )
