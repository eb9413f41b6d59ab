"""Measures the HTTP API of the billing service, for a month with many cells in Redis or PostgreSQL.

One process runs the API as the billing service does, and sends HTTP requests to the API. The
benchmark measures the time until the month is sorted, because the billing service is ready only
after that. Then the benchmark measures the time of page 1 in the first request and in later
requests, the time of the whole CSV, and the memory. With each page, the benchmark also requests
`/health`. A request for `/health` does no work, so its time shows the load of the machine. Kafka is
not used.
"""

from __future__ import annotations

import http.client
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import Final

from bench.billing_api_result import PAGES, Result, Times, times_of
from bench.processes import ONE_MIB, watching
from cli.stack import paths
from local.stack import Stack, StackOptions
from services.billing.core.cells import Cell, encode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months
from services.billing.edge.cells import Cells, RedisCells, open_cells
from services.billing.edge.cells_postgresql import PostgresCells
from services.billing.edge.http.app import make_app
from services.billing.edge.http.quotas import QuotaRoutes
from services.billing.edge.log_ends import LogEnds
from services.billing.edge.views.reader import ReaderParts, UsageReader
from services.billing.edge.views.shelf import Shelf
from services.billing.edge.views.warming import Warmer
from services.billing.settings import BillingSettings
from shared.access.checking import Denial, Grant, Reason
from shared.http_api.keyed import AccessPolicy
from shared.http_api.server import ApiServer
from shared.runtime.clock import SystemClock
from shared.runtime.machine import calm_collector
from shared.settings.sections import RedisSettings
from shared.store.apply_cells import Applied, Run, Stale
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState

LOG: Final = "bench"
COUNTERS: Final = ("billed", "received", "delivered", "bounced", "bytes")
DAYS: Final = 20
_RUN: Final = 20_000
_TIMEOUT_S: Final = 300


class _Ends:
    def ask(self) -> LogEnds:
        return LogEnds(LOG, {0: 1})


class _Books:
    def closed(self) -> tuple[dict[str, Closed], str]:
        return {}, ""


class _NoKeys:
    def check(self, header: str | None) -> Grant | Denial:
        return Denial(Reason.MISSING)

    def fault(self) -> str:
        return ""

    def deny(self, denial: Denial, peer: str) -> None:
        pass


class _NoQuotas:
    def ready(self) -> bool:
        return False

    def state(self, scope: QuotaScope) -> QuotaState | None:
        return None

    def beat(self) -> QuotaBeat | None:
        return None


def measure(cells: int, postgresql: str = "") -> Result:
    """Run the benchmark with this number of cells. Raises PartNotStarted if Redis cannot be
    started."""
    calm_collector()  # Services also call this function when they start.
    clock, months = SystemClock(), Months(UTC)
    month = months.of(clock.now_ms())
    with _store(postgresql) as store:
        _fill(store, month, cells)
        folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
        shelf = Shelf(store, clock, folder, is_renewed=True)
        warmer = Warmer(shelf, months, clock, _Books())
        reader = UsageReader(ReaderParts(shelf, _Books(), _Ends(), months, clock, lambda: None))
        policy = AccessPolicy(_NoKeys(), clock, per_minute=0, is_open=True)
        quotas = QuotaRoutes(lambda: None, _NoQuotas(), clock)
        server = ApiServer(make_app(reader, months, policy, (quotas,)), "127.0.0.1", 0, "bench")
        try:
            return _ask(server.port, month, cells, store, warmer)
        finally:
            warmer.close()
            server.close()
            shelf.close()
            shutil.rmtree(folder, ignore_errors=True)


def _ask(port: int, month: str, cells: int, store: Cells, warmer: Warmer) -> Result:
    path = f"/v1/usage?month={month}"
    with watching() as sorting:
        before = sorting.first
        began = time.monotonic()
        warmer.turn()
        ready_s = time.monotonic() - began
    first_ms = _asked_ms(port, path)
    cpu_s = time.process_time()
    page, page_health = _pages(port, path)
    cpu_s = time.process_time() - cpu_s
    warmer.start()
    with _counting(store, month):
        busy, busy_health = _pages(port, path, every_s=0.1)
    with watching() as streaming:
        began = time.monotonic()
        size, lines = _get(port, f"/v1/usage.csv?month={month}&group=client,mailing_id,day")
        csv_s = time.monotonic() - began
    return Result(
        store="redis" if isinstance(store, RedisCells) else "postgresql",
        cells=cells,
        ready_s=round(ready_s, 2),
        first_page_ms=round(first_ms, 1),
        page_cpu_ms=round(cpu_s * 1000 / PAGES, 1),
        page=page,
        page_health=page_health,
        counting=busy,
        counting_health=busy_health,
        csv_s=round(csv_s, 2),
        csv_bytes=size,
        csv_rows=lines - 1,
        memory_before=before,
        memory_sorting=sorting.most,
        memory_streaming=streaming.most - streaming.first,
    )


def _pages(port: int, path: str, every_s: float = 0.0) -> tuple[Times, Times]:
    """Return the times of the pages, and of the requests to /health in between."""
    pages, nothing = [], []
    for _ in range(PAGES):
        pages.append(_asked_ms(port, path))
        nothing.append(_asked_ms(port, "/health"))
        time.sleep(every_s)
    return times_of(pages), times_of(nothing)


def _asked_ms(port: int, path: str) -> float:
    began = time.monotonic()
    _get(port, path)
    return (time.monotonic() - began) * 1000


@contextmanager
def _counting(store: Cells, month: str) -> Iterator[None]:
    """Add to a hundred cells ten times per second, in this process, as the billing service does."""
    ended, names = threading.Event(), list(islice(_names(100), 100))

    def run() -> None:
        while not ended.wait(0.1):
            mark = store.read().watermarks[0]
            store.apply(Run(LOG, 0, mark, mark + 1, tuple((month, name, 1) for name in names)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _get(port: int, path: str) -> tuple[int, int]:
    """Send a request, read the whole answer, and return the number of its bytes and of its
    lines."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path}: {response.status} {response.read()!r}")
        size = lines = 0
        while piece := response.read(ONE_MIB):
            size += len(piece)
            lines += piece.count(b"\n")
        return size, lines
    finally:
        connection.close()


@contextmanager
def _store(postgresql: str) -> Iterator[Cells]:
    if postgresql:
        yield PostgresCells(postgresql, f"bench-{uuid.uuid4().hex}")
        return
    name = f"bench-{uuid.uuid4().hex[:8]}"
    stack = Stack(StackOptions(name=name, services=(), sink=False))
    stack.start()
    try:
        yield open_cells(BillingSettings(), RedisSettings(url=stack.endpoints.redis))
    finally:
        stack.stop()
        shutil.rmtree(paths.run_folder(name), ignore_errors=True)


def _fill(store: Cells, month: str, cells: int) -> None:
    names = _names(cells)
    mark = -1
    while part := [next(names, "") for _ in range(_RUN)]:
        increments = tuple((month, name, 1 + mark) for name in part if name)
        if not increments:
            break
        run = Run(LOG, 0, mark, 1 if mark < 0 else mark + 1, increments)
        # If an answer is late, the client sends the command again. The answer `stale` to the second
        # command means that the first command was applied.
        if store.apply(run) not in (Applied(), Stale(run.target)):
            raise RuntimeError("the store has other counts")
        mark = run.target


def _names(cells: int) -> Iterator[str]:
    per_mailing = DAYS * len(COUNTERS)
    for number in range(cells):
        mailing, rest = divmod(number, per_mailing)
        day, counter = divmod(rest, len(COUNTERS))
        client = f"client-{mailing % 100}"
        named = Cell(client, f"mailing-{mailing}", "", COUNTERS[counter], f"{day + 1:02d}")
        yield encode_cell(named)
