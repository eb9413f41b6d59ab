"""The live cells. This module has the interface of their stores, the store in Redis, and the
function that opens the store that is chosen in the settings.

Every store adds the counts of a run and moves the watermark of the partition in one atomic step.
The implementations are RedisCells (in this file), PostgresCells (cells_postgresql.py) and
MemoryCells (cells_memory.py), which is for tests. The file tests/contract/test_cells.py runs the
same tests on all three. The counting itself is in core/usage.py, and the scripts are in
shared/store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from services.billing.settings import BillingSettings
from shared.runtime.errors import UsageError
from shared.settings.sections import RedisSettings
from shared.store.apply_cells import AdoptLog, Applied, ApplyCells, OtherLog, Run, Stale
from shared.store.client import connect, store_errors
from shared.store.read_cells import Counts, ReadCells, Snapshot
from shared.store.read_pieces import Moment, ReadChanges, ReadPieces
from shared.store.restore_cells import RestoreCells

# In a Redis cluster, the text in braces is the hash tag, so all keys are in one slot.
STATE_KEY: Final = "{sluice:billing}:cells"
NO_WATERMARK: Final = -1
# A read of all cells of an installation takes about one second per million cells.
BULK_TIMEOUT_S: Final = 60.0


class Follower(Protocol):
    """Reads the counts of a month repeatedly. A later read of the same month may return only the
    changes since the previous read. Not thread-safe. The methods may raise StoreUnavailable."""

    def reading(self, month: str) -> AbstractContextManager[Moment]:
        """Yield the counts of the month at one moment, or their changes since the last read.

        If the block of the with statement fails, the next read returns all counts.
        """

    def close(self) -> None:
        """Release the resources of this follower."""


class Cells(Protocol):
    """The store of the counts. Every method may raise StoreUnavailable."""

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add the counts of a run and move the watermark of its partition in one atomic step."""

    def read(self, *months: str) -> Snapshot:
        """Return the cells of these months (YYYY-MM) or of ALL_MONTHS, with the watermarks."""

    def reading(self, *months: str) -> AbstractContextManager[tuple[Snapshot, Counts]]:
        """Yield a snapshot without cells, and an iterator over the cells that these months had
        at the moment of the snapshot.

        Memory is bounded for any number of cells. Months without cells are left out.
        """

    def follow(self, counters: Sequence[str]) -> Follower:
        """Return a follower of the totals of these counters, by client and sub-client.

        The follower may also yield other counters and details. It may yield sums instead of single
        cells.
        """

    def restore(self, found: Snapshot, counts: Counts) -> bool:
        """If the store has no counts, store a snapshot of all months, and return True.

        `found` is the snapshot without cells. The keys of its `versions` are the months. After
        drop(), nothing is restored. Memory is bounded for any number of cells. If `counts` has a
        cell twice, the method raises RepeatedCell and stores nothing.
        """

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts. After this call, another log is counted from its beginning.

        Marks the counts of these partitions as incomplete up to this month (YYYY-MM). Returns the
        id of the previous log, or "" if there are no counts.
        """

    def drop(self) -> None:
        """Drop all counts. The workers then count the log again from its beginning."""


class RedisCells:
    """Cells in Redis or Valkey.

    `bulk` is a client with a longer time-out, for reads of all cells of a month or of all months.
    """

    def __init__(
        self, client: redis.Redis, state: str = STATE_KEY, bulk: redis.Redis | None = None
    ) -> None:
        self._client = client
        self._bulk = bulk or client
        self._state = state
        self._apply = ApplyCells(client, state)
        self._read = ReadCells(client, state)
        self._read_all = ReadCells(self._bulk, state)
        self._pieces = ReadPieces(self._bulk, state, closing=client)
        self._adopt = AdoptLog(client, state)
        self._restore = RestoreCells(client, state)

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add the counts of a run and move the watermark of its partition in one atomic step."""
        return self._apply.run(run)

    def read(self, *months: str) -> Snapshot:
        """Return the cells of these months (YYYY-MM) or of ALL_MONTHS, with the watermarks."""
        return (self._read_all if months else self._read).run(*months)

    def reading(self, *months: str) -> AbstractContextManager[tuple[Snapshot, Counts]]:
        """Yield a snapshot without cells, and an iterator over the cells that these months had
        at the moment of the snapshot."""
        return self._pieces.reading(*months)

    def follow(self, _: Sequence[str]) -> Follower:
        """Return a follower of all counters."""
        return ReadChanges(self._bulk, self._state, self._client)

    def restore(self, found: Snapshot, counts: Counts) -> bool:
        """If the store has no counts, store a snapshot of all months, and return True."""
        return self._restore.run(found, counts)

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts. After this call, another log is counted from its beginning."""
        return self._adopt.run(log, month, partitions)

    def drop(self) -> None:
        """Drop all counts. The hashes of the months exist until new counts replace them."""
        with store_errors(), self._client.pipeline(transaction=True) as steps:
            steps.unlink(self._state)
            steps.hset(self._state, "dropped", "1")
            steps.execute()


class FollowsWhole:
    """A follower that always reads the whole month, by a call of `read`. Its methods may raise the
    errors that `read` raises."""

    def __init__(
        self, read: Callable[[str], AbstractContextManager[tuple[Snapshot, Counts]]]
    ) -> None:
        self._read = read

    @contextmanager
    def reading(self, month: str) -> Iterator[Moment]:
        """Yield the counts of the month at one moment."""
        with self._read(month) as (snapshot, counts):
            yield Moment(snapshot, False, counts)

    def close(self) -> None:
        """Do nothing, because this follower has no resources."""


def open_cells(
    billing: BillingSettings, redis: RedisSettings, *, is_waited_for: bool = False
) -> Cells:
    """Open the store that is chosen in the settings. The store connects to its server on first use.
    Raises UsageError.

    `is_waited_for` is True if a person or a request waits for each answer. In this case, a query is
    not repeated if the server does not answer in time. Only a broken connection is replaced, at
    most three times.
    """
    if billing.store == "redis":
        once = {"retry": Retry(NoBackoff(), 1, (RedisConnectionError,))} if is_waited_for else {}
        # This client sends a query only once. If it repeated queries, a server that needs long for
        # a million cells would get the same query several times.
        bulk = connect(redis, socket_timeout=BULK_TIMEOUT_S, retry=Retry(NoBackoff(), 0))
        return RedisCells(connect(redis, **once), billing.cells_key, bulk)
    if not billing.postgresql_url:
        raise UsageError(
            'billing.postgresql_url: nothing was found; billing.store = "postgresql" needs'
            " postgresql://USER@HOST[:PORT]/DATABASE"
        )
    # PostgresCells is imported only if it is used, because the import of its driver takes a tenth
    # of a second.
    from services.billing.edge.cells_postgresql import PostgresCells

    password = ""
    if billing.postgresql_password_file:
        try:
            password = Path(billing.postgresql_password_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"billing.postgresql_password_file: {error}") from None
    return PostgresCells(billing.postgresql_url, billing.cells_key, password)
