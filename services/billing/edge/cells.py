"""The live cells: the interface of their stores, the store in Redis, and the function that opens
the store of the settings.

Every store adds a run's counts and moves the watermark of the partition in one atomic step. The
implementations are RedisCells (here), PostgresCells (cells_postgresql.py) and the in-memory twin
MemoryCells (cells_memory.py). tests/contract/test_cells.py runs the same tests on all of them. Does
not own: the counting (core/usage.py), the scripts (shared/store).
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

# The braces mark the hash tag of a Redis cluster, so all keys are in one slot.
STATE_KEY: Final = "{sluice:billing}:cells"
NO_WATERMARK: Final = -1
# A read of all cells of an installation takes a second per million.
BULK_TIMEOUT_S: Final = 60.0


class Follower(Protocol):
    """Reads the same month repeatedly. Later reads may return only the changes. Not thread-safe.
    May raise StoreUnavailable."""

    def reading(self, month: str) -> AbstractContextManager[Moment]:
        """Read the counts of the month at one moment, or their changes since the last read.

        If the block fails, the next read returns all counts.
        """

    def close(self) -> None:
        """Stop following."""


class Cells(Protocol):
    """The store of the counts. Every method may raise StoreUnavailable."""

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add a run's counts and move its partition's watermark, or do neither of them."""

    def read(self, *months: str) -> Snapshot:
        """Return the cells of these months (YYYY-MM) or of ALL_MONTHS, with their watermarks."""

    def reading(self, *months: str) -> AbstractContextManager[tuple[Snapshot, Counts]]:
        """Yield a snapshot without cells, and in pieces the cells of these months at the same
        moment.

        Memory is bounded for any number of cells. A month without cells is left out.
        """

    def follow(self, counters: Sequence[str]) -> Follower:
        """Follow the totals of these counters by client and sub-client.

        The result may also have other counters and details, and cells that are sums of cells.
        """

    def restore(self, found: Snapshot, counts: Counts) -> bool:
        """Store a snapshot of all months if the store has no counts; otherwise return False.

        `found`: the snapshot without cells; its versions name the months. Nothing is restored after
        drop(). Memory is bounded for any number of cells. Raises RepeatedCell, and restores
        nothing, if the snapshot has a cell twice.
        """

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts, and continue with another log, from its beginning.

        Marks the partitions as incomplete up to this month (YYYY-MM). Returns the id of the
        previous log; "" if there are no counts.
        """

    def drop(self) -> None:
        """Drop all counts; the workers then count again from the beginning of the log."""


class RedisCells:
    """Cells in Redis or Valkey.

    `bulk` is a client with a longer time-out. It reads all cells of a month or of all months at
    once.
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
        """Add a run's counts and move its partition's watermark, or do neither of them."""
        return self._apply.run(run)

    def read(self, *months: str) -> Snapshot:
        """Return the cells of these months (YYYY-MM) or of ALL_MONTHS, with their watermarks."""
        return (self._read_all if months else self._read).run(*months)

    def reading(self, *months: str) -> AbstractContextManager[tuple[Snapshot, Counts]]:
        """Yield a snapshot without cells, and in pieces the cells of these months at the same
        moment."""
        return self._pieces.reading(*months)

    def follow(self, _: Sequence[str]) -> Follower:
        """Follow all counters."""
        return ReadChanges(self._bulk, self._state, self._client)

    def restore(self, found: Snapshot, counts: Counts) -> bool:
        """Store a snapshot of all months if the store has no counts; otherwise return False."""
        return self._restore.run(found, counts)

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts, and continue with another log, from its beginning."""
        return self._adopt.run(log, month, partitions)

    def drop(self) -> None:
        """Drop all counts; the hashes of the months remain until new counts replace them."""
        with store_errors(), self._client.pipeline(transaction=True) as steps:
            steps.unlink(self._state)
            steps.hset(self._state, "dropped", "1")
            steps.execute()


class FollowsWhole:
    """Follows a month. Each time it reads the whole month, with `read`. May raise what `read`
    raises."""

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
        """Nothing is kept."""


def open_cells(
    billing: BillingSettings, redis: RedisSettings, *, is_waited_for: bool = False
) -> Cells:
    """Open the store. It connects when it is used. Raises UsageError.

    `is_waited_for`: a person or a request waits for each answer. So a query that the server does
    not answer in time is not repeated. Only a broken connection is replaced, at most three times.
    """
    if billing.store == "redis":
        once = {"retry": Retry(NoBackoff(), 1, (RedisConnectionError,))} if is_waited_for else {}
        # This client sends a query only once, so a server that is slow with a million cells does
        # not get the same query again.
        bulk = connect(redis, socket_timeout=BULK_TIMEOUT_S, retry=Retry(NoBackoff(), 0))
        return RedisCells(connect(redis, **once), billing.cells_key, bulk)
    if not billing.postgresql_url:
        raise UsageError(
            'billing.postgresql_url: nothing was found; billing.store = "postgresql" needs'
            " postgresql://USER@HOST[:PORT]/DATABASE"
        )
    # The store is imported only here, because importing its driver takes a tenth of a second.
    from services.billing.edge.cells_postgresql import PostgresCells

    password = ""
    if billing.postgresql_password_file:
        try:
            password = Path(billing.postgresql_password_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"billing.postgresql_password_file: {error}") from None
    return PostgresCells(billing.postgresql_url, billing.cells_key, password)
