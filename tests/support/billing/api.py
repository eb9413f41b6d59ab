"""The HTTP API of billing over cells in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.testing import TestClient
from msgspec import Struct

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months
from services.billing.core.usage import count
from services.billing.edge.cells import NO_WATERMARK
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.http.app import make_app
from services.billing.edge.http.messages import MessageRoutes
from services.billing.edge.http.quotas import QuotaRoutes
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from services.billing.edge.views.books import StatementsUnknown
from services.billing.edge.views.reader import ReaderParts, UsageReader
from services.billing.edge.views.shelf import Shelf
from shared.http_api.keyed import AccessPolicy
from shared.registry.client import Client
from shared.runtime.clock import FakeClock
from shared.store.apply_cells import Applied, Run
from shared.store.client import StoreUnavailable
from shared.store.read_cells import ALL_MONTHS, Snapshot
from shared.topics.codec import encode_event
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState
from shared.topics.records import EventType, MailEvent
from tests.support.access import FakeKeys
from tests.support.billing.statements import (
    BytesText,
    add_stated,
    encode_lines,
    lines_of,
    statement_of,
)

LOG: Final = "log-1"
CLOSED_MONTH: Final = "2026-10"
MONTH: Final = "2026-11"
NOON_MS: Final = 1_794_744_000_000  # 2026-11-15T12:00Z
END: Final = 10

# client, mailing ID, sub-client, counter, day, detail
CELLS: Final[tuple[tuple[Cell, int], ...]] = (
    (Cell("bank", "letters", "", "refused", "02"), 1),
    (Cell("bank", "letters", "", "refused", "02", "R4"), 1),
    (Cell("bank", "letters", "", "billed", "03"), 5),
    (Cell("shop", "news", "north", "delivered", "01"), 2),
    (Cell("shop", "news", "south", "billed", "01"), 3),
    (Cell("shop", "news", "south", "billed", "02"), 4),
    (Cell("shop", "news", "south", "received", "01"), 8),
    (Cell("shop", "=HYPERLINK(1)", "", "billed", "04"), 6),
)


class FakeEnds:
    """A log with a given end."""

    def __init__(self, ends: dict[int, int]) -> None:
        self.ends = ends
        self.away = ""

    def ask(self) -> LogEnds:
        if self.away:
            raise KafkaUnavailable(self.away)
        return LogEnds(LOG, self.ends)


class FakeQuotas:
    """The use of quotas that a test specifies."""

    def __init__(self) -> None:
        self.states: dict[QuotaScope, QuotaState] = {}

    def ready(self) -> bool:
        return True

    def state(self, scope: QuotaScope) -> QuotaState | None:
        return self.states.get(scope)

    def beat(self) -> QuotaBeat | None:
        return None


class EventRecord(Struct):
    """A record of mail.events, in the form in which it is read."""

    headers: Sequence[tuple[str, bytes]]
    value: bytes | None
    timestamp: int = 0


_FILLER: Final = EventRecord([], b"")


def event_record(kind: EventType, mail_id: str, **fields: Any) -> EventRecord:
    """Return the record of an event."""
    _, value, headers = encode_event(kind, mail_id, MailEvent(**fields), "deliver")
    return EventRecord(headers, value)


class FakeEvents:
    """The records of mail.events that a test publishes."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    @contextmanager
    def open(self) -> Iterator[FakeEvents]:
        yield self

    def id(self) -> str:
        return LOG

    def committed_ends(self) -> dict[int, int]:
        return {0: len(self.records)}

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        return {0: 0}

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> Iterator[tuple[int, Sequence[Any]]]:
        yield 0, self.records[(starts or {}).get(0, 0) : ends[0]]


class FakeBooks:
    """Statements that a test closes."""

    def __init__(self) -> None:
        self.found: dict[str, Closed] = {}
        self.unknown: str = ""

    def closed(self) -> tuple[dict[str, Closed], str]:
        if self.unknown:
            raise StatementsUnknown(self.unknown)
        return self.found, ""

    def close_month(self, month: str, cells: Mapping[str, Mapping[str, int]]) -> Closed:
        stated: dict[str, dict[str, int]] = {}
        for each in self.found.values():
            add_stated(stated, each.lines())
        lines = lines_of(month, cells, stated)
        statement = statement_of(
            month,
            lines,
            closed_at_ms=NOON_MS - 86_400_000,
            closed_by="automatic",
            log=LOG,
            offsets={"0": 4},
        )
        text = BytesText(encode_lines(lines))
        self.found[month] = Closed(statement, text, 0)
        return self.found[month]


class BrokenCells(MemoryCells):
    """A store that can be made unavailable."""

    broken = False

    def read(self, *months: str) -> Snapshot:
        if self.broken:
            raise StoreUnavailable("Redis: Connection refused.")
        return super().read(*months)


class Api(Struct):
    """The API with all its dependencies."""

    cells: BrokenCells
    books: FakeBooks
    ends: FakeEnds
    keys: FakeKeys
    clock: FakeClock
    app: Litestar
    shelf: Shelf
    door: TestClient[Litestar]
    quotas: FakeQuotas
    events: FakeEvents

    def get(self, path: str, headers: Mapping[str, str] | None = None, /, **params: Any) -> Any:
        """Send a GET with a key for everything, unless headers are given."""
        own = self.keys.make() if headers is None else headers
        return self.door.get(path, headers=dict(own), params=params or None)

    def count(self, month: str, cells: Iterable[tuple[Cell, int]]) -> None:
        """Count these cells."""
        state = self.cells.read()
        mark = state.watermarks.get(0, -1)
        increments = tuple((month, encode_cell(cell), number) for cell, number in cells)
        self.cells.apply(Run(LOG, 0, mark, mark + 1, increments))
        self.ends.ends = {0: mark + 1}

    def publish(self, records: Sequence[Any]) -> None:
        """Publish these records of mail.events, and count them."""
        mark = self.cells.read().watermarks.get(0, NO_WATERMARK)
        begin = max(mark, 0)
        filler = begin - len(self.events.records)
        self.events.records += [_FILLER] * filler + list(records)
        increments = count(records, Months(UTC)).increments()
        run = Run(LOG, 0, mark, begin + len(records), increments)
        assert isinstance(self.cells.apply(run), Applied)
        self.ends.ends = {0: run.target}

    def close(self, month: str) -> Closed:
        """Close a month with the present counts."""
        return self.books.close_month(month, self.cells.read(ALL_MONTHS).months)


@contextmanager
def open_api(folder: Path, clients: Iterable[str] | None = ("bank", "shop")) -> Iterator[Api]:
    """Yield an API with the counts of two months; `clients` are registered."""
    clock = FakeClock(NOON_MS)
    cells, books, ends, keys = BrokenCells(), FakeBooks(), FakeEnds({0: END}), FakeKeys(clock)
    shelf, months = Shelf(cells, clock, folder), Months(UTC)
    registered = None if clients is None else {name: _client(name) for name in clients}
    reader = UsageReader(ReaderParts(shelf, books, ends, months, clock, lambda: registered))
    quotas = FakeQuotas()
    routes = QuotaRoutes(lambda: registered, quotas, clock)
    events = FakeEvents()
    messages = MessageRoutes(reader, months, events.open)
    app = make_app(reader, months, AccessPolicy(keys, clock, per_minute=0), (routes, messages))
    with TestClient(app, raise_server_exceptions=False) as door:
        api = Api(cells, books, ends, keys, clock, app, shelf, door, quotas, events)
        api.count(CLOSED_MONTH, CELLS)
        api.count(MONTH, CELLS)
        yield api
    shelf.close()


def _client(name: str) -> Client:
    fields = {
        "name": name,
        "sending_domain": f"{name}.example",
        "forwarding_address": "a@b.example",
        "mailing_id": "news",
        "monthly_quota": 100 if name == "shop" else 0,
        "codes": {"s": {"mailing_id": "news", "sub_client": "south", "monthly_quota": 50}},
    }
    return msgspec.convert(fields, Client, strict=False)
