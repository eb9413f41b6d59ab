"""The HTTP API for platforms, with everything behind it in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.testing import TestClient
from msgspec import Struct

from services.validate.edge.platform_api.app import Routes, make_app
from services.validate.edge.platform_api.counters import CounterRoutes
from services.validate.edge.platform_api.entries import EntryTable
from services.validate.edge.platform_api.messages import Found, MessageRoutes
from services.validate.edge.platform_api.request import Parts, Workers
from services.validate.edge.platform_api.suppressions import SuppressionRoutes
from services.validate.edge.platform_api.unsubscribe import (
    Links,
    UnsubscribeMetrics,
    UnsubscribeRoutes,
)
from services.validate.edge.platform_api.writer import NotWritten
from shared.access.keys import Right, Scope
from shared.events.stories import Wanted, stories
from shared.http_api.keyed import AccessPolicy
from shared.mail import verp
from shared.mail.unsubscribe import make_token
from shared.mail.verp import ReturnPath, parse_keys
from shared.registry.client import Client
from shared.responses.counting.counting import BounceCounter, encode_counter
from shared.runtime.clock import FakeClock
from shared.runtime.telemetry import Counters
from shared.store.client import StoreUnavailable
from shared.store.counters import CounterPlace
from shared.stream.transactions import Output
from shared.topics.codec import decode_event
from shared.topics.names import EVENTS, SUPPRESSIONS
from shared.topics.records import Event
from shared.topics.suppressions import (
    Suppression,
    SuppressionRecord,
    decode_suppression,
    encode_suppression,
    field_of,
)
from tests.support.access import FakeKeys

NOON_MS: Final = 1_794_744_000_000
DAY: Final = verp.day_of(NOON_MS)
KEYS: Final = parse_keys(f"1 2026-01-01 {'ab' * 32}")
ALL_RIGHTS: Final = tuple(right.value for right in Right)


class FakeEntries:
    """The followed entries, without a topic."""

    def __init__(self) -> None:
        self.table = EntryTable()
        self.end = 0
        self.is_fresh_now = True
        self.missing = ""

    def fault(self) -> str:
        return self.missing

    def is_fresh(self) -> bool:
        return self.is_fresh_now


class FakeWriter:
    """Replaces Kafka: records written to mail.suppressions are read at once."""

    def __init__(self, entries: FakeEntries) -> None:
        self._entries = entries
        self.written: list[Output] = []
        self.is_away = False

    async def write(self, outputs: Sequence[Output]) -> int:
        if self.is_away:
            raise NotWritten("Kafka did not answer")
        self.written += outputs
        for each in outputs:
            if each.topic == SUPPRESSIONS:
                self._entries.end += 1
                record = decode_suppression(each.value)
                if isinstance(record, Suppression):
                    self._entries.table.put([(record, each.value or b"")])
        return self._entries.end - 1

    def records(self) -> list[SuppressionRecord]:
        return [
            decode_suppression(each.value) for each in self.written if each.topic == SUPPRESSIONS
        ]

    def events(self) -> list[Event]:
        found = [
            decode_event(each.headers, each.value) for each in self.written if each.topic == EVENTS
        ]
        return [each for each in found if isinstance(each, Event)]


class FakeCounters:
    """The counters in Redis."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.is_away = False

    def read(self, fields: Sequence[bytes]) -> tuple[CounterPlace, list[bytes | None]]:
        if self.is_away:
            raise StoreUnavailable("Redis: no answer")
        return CounterPlace("", ""), [self.kept.get(each) for each in fields]

    def put(self, client: str, address: str, counter: BounceCounter) -> None:
        self.kept[field_of(client, address)] = encode_counter(counter)


class FakeClients:
    """The registry."""

    def __init__(self, clients: Mapping[str, Client]) -> None:
        self.clients = dict(clients)
        self.is_ready = True

    def get(self, name: str) -> Client | None:
        return self.clients.get(name)

    def refresh(self, timeout_s: float) -> bool:
        return True

    def ready(self) -> bool:
        return self.is_ready


class Api(Struct):
    """The API with all its dependencies."""

    entries: FakeEntries
    writer: FakeWriter
    counters: FakeCounters
    clients: FakeClients
    keys: FakeKeys
    clock: FakeClock
    events: list[Event]
    app: Litestar
    door: TestClient[Litestar]

    def key(self, client: str = "", sub_client: str | None = None) -> dict[str, str]:
        """Return a key with every right."""
        return self.keys.make(client, sub_client, ALL_RIGHTS)

    def ask(self, method: str, path: str, key: Mapping[str, str] | None = None, **more: Any) -> Any:
        """Send a request, with a key of the client `shop` unless a key is given."""
        return self.door.request(method, path, headers=dict(key or self.key("shop")), **more)

    def suppress(self, *entries: Suppression) -> None:
        """Put entries into the followed topic."""
        self.entries.table.put([(each, encode_suppression(each)[1]) for each in entries])

    def find(self, wanted: Wanted, since_ms: int, client: str, scope: Scope) -> Found:
        """Return what Lookup.find would find in the events of this API."""
        own = [each for each in self.events if each.data.client == client and wanted.matches(each)]
        found = [each for each in stories(own) if scope.covers(client, each.sub_client)]
        return Found(True, found)


def token(client: str, recipient: str, mail_id: str, day: int = DAY) -> str:
    """Return the token of a message of mailing `news`."""
    mailing = verp.mailing_hash("news", "")
    path = ReturnPath(day, mailing, verp.recipient_hash(mail_id, recipient), mail_id)
    return make_token(client, verp.encode(KEYS, client, path), recipient)


@contextmanager
def open_api(find: Callable[..., Found] | None = None) -> Iterator[Api]:
    """Yield an API with the clients `bank` and `shop`."""
    clock = FakeClock(NOON_MS)
    entries, counters, keys = FakeEntries(), FakeCounters(), FakeKeys(clock)
    writer = FakeWriter(entries)
    clients = FakeClients({name: _client(name) for name in ("bank", "shop")})
    redis, lookups = Workers("redis", 8, 5.0), Workers("look-ups", 4, 5.0)
    # The real ones need Kafka and Redis.
    fakes: dict[str, Any] = {"entries": entries, "writer": writer, "counters": counters}
    parts = Parts(clients=clients, redis=redis, clock=clock, **fakes)
    events: list[Event] = []
    api: Api

    def found(*arguments: Any) -> Found:
        return find(*arguments) if find is not None else api.find(*arguments)

    metered = Counters("api")
    routes = Routes(
        SuppressionRoutes(parts),
        CounterRoutes(parts),
        MessageRoutes(parts, lookups, found),
        UnsubscribeRoutes(parts, Links(lambda: KEYS, 60), UnsubscribeMetrics(metered)),
    )
    app = make_app(routes, AccessPolicy(keys, clock, per_minute=0))
    with TestClient(app, raise_server_exceptions=False) as door:
        api = Api(entries, writer, counters, clients, keys, clock, events, app, door)
        yield api
    redis.close()
    lookups.close()
    metered.close()
    entries.table.close()


def _client(name: str) -> Client:
    fields = {
        "name": name,
        "sending_domain": f"{name}.example",
        "forwarding_address": "a@b.example",
        "mailing_id": "news",
        "block_list": ["*@blocked.example"],
    }
    return msgspec.convert(fields, Client, strict=False)
