"""Writes checkpoints of the cells, and restores lost cells from the last one.

On failure: chunks without a manifest are never read; a checkpoint that is older than the last one
costs time, not counts. Several processes may write checkpoints of the same cells.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from typing import Final

import msgspec

from services.billing.core.checkpoint import (
    CELLS,
    MANIFEST,
    VOID,
    Manifest,
    StoredMonth,
    changed_months,
    digest,
    encode_chunks,
    is_due,
)
from services.billing.edge.cells import Cells
from services.billing.edge.statements.topic import Entry, StatementTopic
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.store.read_cells import Snapshot
from shared.stream.client import ClientOptions

log = logging.getLogger(__name__)

# Another process may be writing a checkpoint whose chunks nothing refers to yet, so what is unused
# is removed only after it has been unused for this many checkpoints of this process.
_ROUNDS: Final = 3


class Checkpointer:
    """Writes checkpoints. For one thread."""

    def __init__(
        self, cells: Cells, topic: StatementTopic, clock: Clock, failpoints: Failpoints
    ) -> None:
        self._cells = cells
        self._topic = topic
        self._clock = clock
        self._failpoints = failpoints
        self._unused: dict[str, int] = {}

    def write(self) -> bool:
        """Write a checkpoint if anything was counted since the last one; return whether it did.

        Raises StoreUnavailable, KafkaUnavailable.
        """
        self._topic.read()
        best = self._topic.checkpoints.best()
        state = self._cells.read()
        if not is_due(state, best):
            return False
        # Months that change in between are read at the same moment as the watermarks.
        months = changed_months(state, best)
        found = self._cells.read(*months)
        while found.whole and (more := set(changed_months(found, best)) - found.months.keys()):
            months = sorted({*months, *more})
            found = self._cells.read(*months)
        if not found.whole or not found.log:
            return False
        self._failpoints.hit("billing.checkpointing")
        self._topic.write(self._entries(found, best))
        self._failpoints.hit("billing.checkpointed")
        self._topic.read()
        self._remove_unused()
        return True

    def _entries(self, found: Snapshot, best: Manifest | None) -> Iterator[Entry]:
        token = secrets.token_hex(8)
        stored = {
            month: best.months[month]
            for month in found.versions
            if month not in found.months and best is not None
        }
        for month, cells in found.months.items():
            chunks = list(encode_chunks(cells))
            keys = tuple(f"{CELLS}{month}/{token}/{number}" for number in range(len(chunks)))
            for key, chunk in zip(keys, chunks, strict=True):
                yield key.encode(), chunk, []
            stored[month] = StoredMonth(found.versions[month], keys, digest(chunks))
        manifest = Manifest(
            at_ms=self._clock.now_ms(),
            log=found.log,
            generation=found.generation,
            watermarks={str(part): mark for part, mark in found.watermarks.items()},
            holes={str(part): month for part, month in found.holes.items()},
            months=stored,
        )
        yield f"{MANIFEST}{token}".encode(), msgspec.json.encode(manifest), []

    def _remove_unused(self) -> None:
        unused = self._topic.checkpoints.unused()
        self._unused = {key: self._unused.get(key, 0) + 1 for key in unused}
        old = [key for key, rounds in self._unused.items() if rounds >= _ROUNDS]
        self._topic.write((key.encode(), None, []) for key in old)


def restore(cells: Cells, topic: StatementTopic) -> bool:
    """Put the last checkpoint in place if the cells were lost; return whether it did.

    `topic` must keep cells. Raises StoreUnavailable, KafkaUnavailable.
    """
    topic.read()
    found = topic.checkpoints.snapshot()
    if found is None or not cells.restore(found):
        return False
    log.warning(
        "the counts were lost and are restored from a checkpoint",
        extra={"watermarks": found.watermarks, "months": sorted(found.months)},
    )
    return True


def restore_from(options: ClientOptions, cells: Cells) -> bool:
    """restore() with connections of its own."""
    topic = StatementTopic(options, keeps_cells=True)
    try:
        return restore(cells, topic)
    finally:
        topic.close()


def void(topic: StatementTopic, generation: str) -> None:
    """Make all checkpoints up to now, and later ones of this generation, unusable."""
    if generation:
        topic.write([(f"{VOID}{generation}".encode(), b"1", [])])
