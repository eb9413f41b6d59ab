"""/v1/responses: the bounce counters of a recipient.

Separate threads read the counters from Redis, so that an unavailable Redis does not delay other
routes. A reset is written to Kafka and needs no Redis.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from services.validate.core.platform_api.requests import Busy
from services.validate.edge.platform_api.request import (
    Address,
    ApiRequest,
    ClientName,
    Note,
    Parts,
    recipient_of_path,
    responses,
)
from shared.access.keys import Right
from shared.http_api.keyed import requires
from shared.registry.client import Client
from shared.responses.counting.counting import decode_counter
from shared.suppressions.entries import names_of, removal, reset
from shared.topics.suppressions import BY_COUNTER, Suppression, SuppressionRecord, field_of

# A query to Redis may take 10 s (shared/store/client.py). A request waits only this many seconds.
REDIS_S: Final = 5.0


class CounterRow(Struct, frozen=True):
    """The counted bounces of a recipient, and the client's limits."""

    hard: int
    hard_limit: int
    soft: int
    soft_limit: int


class Counted(Struct, frozen=True):
    """The counters of a recipient."""

    client: str
    address: str
    counters: CounterRow


class ResetDone(Struct, frozen=True):
    """The counters are reset; `removed` is the number of removed entries that the counters had
    made."""

    client: str
    address: str
    removed: int


async def row_of(request: ApiRequest, parts: Parts, client: Client, address: str) -> CounterRow:
    """Return the counters of an address. Raises StoreUnavailable, Busy."""
    field = field_of(client.name, address)
    _, (value,) = await parts.redis.run(request.auth.key, lambda: parts.counters.read([field]))
    counter = decode_counter(value)
    return CounterRow(len(counter.hard), client.hard_limit, len(counter.soft), client.soft_limit)


class CounterRoutes:
    """Makes the routes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        common: dict[str, Any] = {"tags": ["responses"], "responses": responses()}
        parts = self._parts

        @get(
            "/v1/responses/{address:str}",
            summary="The counted bounces of a recipient",
            guards=[requires(Right.RESPONSES_READ)],
            **common,
        )
        async def show(request: ApiRequest, address: Address, client: ClientName = "") -> Counted:
            recipient = recipient_of_path(address)
            found = parts.client(request, client, is_shared=True)
            return Counted(found.name, recipient, await row_of(request, parts, found, recipient))

        @post(
            "/v1/responses/{address:str}/reset",
            summary="Reset the counters of a recipient, and remove the entries that they made",
            guards=[requires(Right.RESPONSES_WRITE)],
            status_code=200,
            **common,
        )
        async def reset_(
            request: ApiRequest, address: Address, client: ClientName = "", note: Note = ""
        ) -> ResetDone:
            recipient = recipient_of_path(address)
            found = parts.client(request, client, is_shared=True)
            records = await self._records(request, found.name, recipient, note)
            await parts.write(records)
            return ResetDone(found.name, recipient, len(records) - 1)

        return [show, reset_]

    async def _records(
        self, request: ApiRequest, client: str, address: str, note: str
    ) -> list[SuppressionRecord]:
        """Return the record of the reset, and the records that remove the entries made by the
        counters."""
        if fault := self._parts.entries.fault():
            raise Busy(f"the suppressions are not known: {fault}")
        table, names = self._parts.entries.table, names_of(address).values()
        entries: list[Suppression] = await asyncio.to_thread(table.of_recipient, client, names)
        author = self._parts.author(request, note)
        counter = reset(client, address, author)
        made = [each for each in entries if each.reason in BY_COUNTER]
        plan = removal(made, author, is_forced=False)
        return [counter, *(each for each in plan.records if each != counter)]
