"""Writes checkpoints of the cells, and restores lost cells from the last checkpoint.

If a checkpoint cannot be completed, its chunks have no manifest and are never read. In this case,
cells can only be restored from an earlier checkpoint. Such a restore takes more time but loses no
counts. Several processes may write checkpoints of the same cells. Chunks are written while the
cells are read, so memory is bounded for any number of cells.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from services.billing.core.checkpoint import (
    CELLS,
    MANIFEST,
    VOID,
    Checkpoints,
    Manifest,
    StoredMonth,
    changed_months,
    encode_chunks,
    is_due,
)
from services.billing.edge.cells import Cells
from services.billing.edge.one_moment import by_name, read_at_one_moment
from services.billing.edge.statements.topic import StatementTopic
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.store.read_cells import Counts, Snapshot
from shared.store.restore_cells import RepeatedCell
from shared.stream.client import ClientOptions

log = logging.getLogger(__name__)

# Another process may be writing chunks to which no manifest refers yet. So a key is removed only if
# no manifest referred to it at this many consecutive checkpoints of this process.
_ROUNDS: Final = 3


class Checkpointer:
    """Writes checkpoints. Not thread-safe."""

    def __init__(
        self, cells: Cells, topic: StatementTopic, clock: Clock, failpoints: Failpoints
    ) -> None:
        self._cells = cells
        self._topic = topic
        self._clock = clock
        self._failpoints = failpoints
        self._unused: dict[str, int] = {}

    def write(self) -> bool:
        """If anything was counted after the last checkpoint, write a checkpoint and return True.

        Raises StoreUnavailable, KafkaUnavailable.
        """
        self._topic.read()
        best = self._topic.checkpoints.best()
        if not is_due(self._cells.read(), best):
            return False
        self._failpoints.hit("billing.checkpointing")
        stored: dict[str, StoredMonth] = {}

        def take(months: Sequence[str], moment: Snapshot, counts: Counts) -> None:
            for month, cells in by_name(months, counts):
                stored[month] = self._write_month(month, moment.versions.get(month, 0), cells)

        # If a month changes during this read, the month is read again, so that all months match the
        # watermarks.
        found = read_at_one_moment(self._cells, lambda now: changed_months(now, best), take)
        if not found.whole or not found.log:
            return False
        before = best.months if best is not None else {}
        months = {month: stored.get(month) or before[month] for month in sorted(found.versions)}
        self._write_manifest(found, months)
        self._failpoints.hit("billing.checkpointed")
        self._topic.read()
        self._remove_unused()
        return True

    def _write_month(
        self, month: str, version: int, cells: Iterable[tuple[str, int]]
    ) -> StoredMonth:
        """Write the chunks of a month. Each chunk is written as soon as it is full."""
        token, keys, hashed = secrets.token_hex(8), list[str](), hashlib.sha256()
        for number, chunk in enumerate(encode_chunks(cells)):
            keys.append(f"{CELLS}{month}/{token}/{number}")
            self._topic.write([(keys[-1].encode(), chunk, [])])
            hashed.update(chunk)
        return StoredMonth(version, tuple(keys), hashed.hexdigest())

    def _write_manifest(self, found: Snapshot, months: dict[str, StoredMonth]) -> None:
        manifest = Manifest(
            at_ms=self._clock.now_ms(),
            log=found.log,
            generation=found.generation,
            watermarks={str(part): mark for part, mark in found.watermarks.items()},
            holes={str(part): month for part, month in found.holes.items()},
            months=months,
        )
        key = f"{MANIFEST}{secrets.token_hex(8)}".encode()
        self._topic.write([(key, msgspec.json.encode(manifest), [])])

    def _remove_unused(self) -> None:
        unused = self._topic.checkpoints.unused()
        self._unused = {key: self._unused.get(key, 0) + 1 for key in unused}
        old = [key for key, rounds in self._unused.items() if rounds >= _ROUNDS]
        self._topic.write((key.encode(), None, []) for key in old)


class ReadsCheckpoints(Protocol):
    """A topic from which checkpoints are read. In production this is StatementTopic."""

    @property
    def checkpoints(self) -> Checkpoints:
        """Return the checkpoints that were read so far."""
        ...

    def read(self) -> None:
        """Read the new records. Raises KafkaUnavailable."""
        ...


def restore(cells: Cells, topic: ReadsCheckpoints) -> bool:
    """If the cells were lost, restore them from the last checkpoint, and return True.

    If a checkpoint has the same cell twice, it may lack other cells, so the previous checkpoint is
    used instead. If there is no usable checkpoint, nothing is restored, and the worker counts
    mail.events again. `topic` must store the chunks of cells. Raises StoreUnavailable,
    KafkaUnavailable.
    """
    topic.read()
    for found, counts in topic.checkpoints.snapshots():
        try:
            if not cells.restore(found, counts):
                return False
        except RepeatedCell as error:
            log.error("a checkpoint cannot be used", extra={"reason": str(error)})
            continue
        log.warning(
            "the counts were lost and are restored from a checkpoint",
            extra={"watermarks": found.watermarks, "months": sorted(found.versions)},
        )
        return True
    return False


def restore_from(options: ClientOptions, cells: Cells) -> bool:
    """Call restore() with a new connection to Kafka."""
    topic = StatementTopic(options, keeps_cells=True)
    try:
        return restore(cells, topic)
    finally:
        topic.close()


def void(topic: StatementTopic, generation: str) -> None:
    """Invalidate all existing checkpoints, and all future checkpoints of this generation."""
    if generation:
        topic.write([(f"{VOID}{generation}".encode(), b"1", [])])
