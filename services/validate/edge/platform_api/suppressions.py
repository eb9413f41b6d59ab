"""/v1/suppressions: the recipients who get no mail from a client, and changes to this list.

Lists and explanations are read from the entries that this process follows. A request for a change
is answered when Kafka has the change. If possible, the answer also waits until this process has
read the change back, so that the next request sees the change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, Final

from litestar import delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.response import Stream
from msgspec import Struct

from services.validate.core.platform_api.requests import (
    MAX_CHARS,
    START,
    Busy,
    Conflict,
    NotFound,
    Place,
    decode_cursor,
    encode_cursor,
)
from services.validate.edge.platform_api.counters import CounterRow, row_of
from services.validate.edge.platform_api.request import (
    MAX_TEXT,
    Address,
    ApiRequest,
    ClientName,
    Note,
    Parts,
    recipient_of,
    recipient_of_path,
    refuse_body,
    responses,
)
from shared.access.keys import Right
from shared.http_api.keyed import requires
from shared.registry.client import Family, family_of
from shared.suppressions.csv_file import Recipient as Named
from shared.suppressions.csv_file import as_csv
from shared.suppressions.entries import addition, explain, names_of, removal
from shared.topics.suppressions import (
    REASONS,
    RecipientForm,
    Suppression,
    SuppressionReason,
)

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1_000
_Reason = Annotated[
    str,
    QueryParameter(
        pattern=f"^({'|'.join(REASONS)})?$", description="Only entries with this reason."
    ),
]
_Recipient = Annotated[
    str, QueryParameter(max_length=MAX_TEXT, description="Only entries for this address.")
]
_Limit = Annotated[
    int, QueryParameter(ge=1, le=MAX_LIMIT, description="Number of entries per page.")
]
_Cursor = Annotated[
    str, QueryParameter(max_length=MAX_CHARS, description="`next` of the previous page.")
]


_TAGS: Final = ["suppressions"]
_READS: Final[dict[str, Any]] = {"tags": _TAGS, "guards": [requires(Right.SUPPRESSIONS_READ)]}
_WRITES: Final[dict[str, Any]] = {"tags": _TAGS, "guards": [requires(Right.SUPPRESSIONS_WRITE)]}


class Entry(Struct, frozen=True):
    """One entry with all its fields (shared/topics/suppressions.py explains them)."""

    recipient: str
    form: str
    reason: str
    active: bool
    at_ms: int
    author: str
    note: str
    mail_id: str
    count: int


class EntryPage(Struct, frozen=True):
    """One page of entries. `next` is the cursor of the next page, or "" on the last page."""

    client: str
    is_fresh: bool  # False if Kafka does not answer, so later changes may be missing
    entries: list[Entry]
    next: str


class Explained(Struct, frozen=True):
    """States whether a recipient gets mail, with all data that determine the answer. If the
    recipient gets mail, `reason` is "".

    If the reason comes from a parent's list, the entries and patterns of that list are not shown,
    because they belong to another client.
    """

    client: str
    address: str
    reason: str
    is_inherited: bool  # True if the reason comes from a parent's list
    pattern: str  # the pattern of the client's block list that matches, if any
    entries: list[Entry]  # removed entries are also listed
    counters: CounterRow


class SuppressionRoutes:
    """Makes the routes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        return [*self._lists(), *self._of_address()]

    def _lists(self) -> list[HTTPRouteHandler]:
        @get(
            "/v1/suppressions",
            summary="A page of entries",
            sync_to_thread=True,
            responses=responses(),
            **_READS,
        )
        def list_entries(
            request: ApiRequest,
            client: ClientName = "",
            reason: _Reason = "",
            recipient: _Recipient = "",
            limit: _Limit = DEFAULT_LIMIT,
            cursor: _Cursor = "",
        ) -> EntryPage:
            name = self._name(request, client)
            after = decode_cursor(cursor)
            found = self._entries(name, reason, recipient, after, limit + 1)
            following = encode_cursor(_place(found[limit - 1])) if len(found) > limit else ""
            is_fresh = self._parts.entries.is_fresh()
            return EntryPage(name, is_fresh, _shown(found[:limit]), following)

        @get(
            "/v1/suppressions.csv",
            summary="All entries as CSV",
            sync_to_thread=True,
            responses=responses(),
            media_type="text/csv",
            **_READS,
        )
        def export(
            request: ApiRequest,
            client: ClientName = "",
            reason: _Reason = "",
            recipient: _Recipient = "",
        ) -> Stream:
            name = self._name(request, client)
            self._require_whole()
            pages = self._pages(name, reason, recipient)
            shown = {"Content-Disposition": 'attachment; filename="suppressions.csv"'}
            return Stream(pages, media_type="text/csv", headers=shown)

        return [list_entries, export]

    def _of_address(self) -> list[HTTPRouteHandler]:
        @get(
            "/v1/suppressions/{address:str}",
            summary="Whether a recipient gets mail, and the reason if not",
            responses=responses(),
            **_READS,
        )
        async def explanation(
            request: ApiRequest, address: Address, client: ClientName = ""
        ) -> Explained:
            return await self._explained(request, recipient_of_path(address), client)

        @put(
            "/v1/suppressions/{address:str}",
            summary="Add an entry with the reason `manual`",
            responses=responses(),
            status_code=200,
            **_WRITES,
        )
        async def add(
            request: ApiRequest, address: Address, client: ClientName = "", note: Note = ""
        ) -> Entry:
            refuse_body(request)
            name = self._name(request, client)
            named = Named(recipient_of_path(address), RecipientForm.ADDRESS)
            author = self._parts.author(request, note)
            entry = addition(name, named, SuppressionReason.MANUAL, author)
            await self._parts.write([entry])
            return _shown([entry])[0]

        @delete(
            "/v1/suppressions/{address:str}",
            summary="Remove the entries of a recipient",
            responses=responses(_409="A client cannot remove a complaint."),
            status_code=204,
            **_WRITES,
        )
        async def remove(
            request: ApiRequest, address: Address, client: ClientName = "", note: Note = ""
        ) -> None:
            refuse_body(request)
            name = self._name(request, client)
            await self._remove(request, name, recipient_of_path(address), note)

        return [explanation, add, remove]

    def _name(self, request: ApiRequest, client: str) -> str:
        return self._parts.client(request, client, is_shared=True).name

    def _require_whole(self) -> None:
        if fault := self._parts.entries.fault():
            raise Busy(f"the suppressions are not known: {fault}")

    def _entries(
        self, client: str, reason: str, recipient: str, after: Place, limit: int
    ) -> list[Suppression]:
        self._require_whole()
        table = self._parts.entries.table
        if not recipient:
            return table.page(client, reason, after, limit)
        names = names_of(recipient_of(recipient, "recipient")).values()
        found = sorted(table.of_recipient(client, names), key=_place)
        chosen = [
            each
            for each in found
            if each.active and reason in ("", each.reason) and _place(each) > after
        ]
        return chosen[:limit]

    def _pages(self, client: str, reason: str, recipient: str) -> Iterator[str]:
        """Yield the lines of the file one after another, as the entries are read."""
        after = START
        yield as_csv(())
        while found := self._entries(client, reason, recipient, after, MAX_LIMIT):
            yield as_csv(found).partition("\n")[2]
            after = _place(found[-1])

    async def _explained(self, request: ApiRequest, address: str, client: str) -> Explained:
        parts = self._parts
        found = parts.client(request, client, is_shared=True)
        family = family_of(found, parts.clients.get)
        entries = await asyncio.to_thread(self._of_family, family, address)
        counters = await row_of(request, parts, found, address)
        clients = {each.name: each for each in (found, *family.parents)}
        (said,) = (one for one in explain(address, clients, entries) if one.client == found.name)
        return Explained(
            said.client,
            address,
            said.reason,
            bool(said.inherited_from),
            "" if said.inherited_from else said.pattern,
            _shown([each for each in said.entries if each.client == found.name]),
            counters,
        )

    def _of_family(self, family: Family, address: str) -> list[Suppression]:
        return [entry for name in family.names for entry in self._of_recipient(name, address)]

    def _of_recipient(self, client: str, address: str) -> list[Suppression]:
        self._require_whole()
        return self._parts.entries.table.of_recipient(client, names_of(address).values())

    async def _remove(self, request: ApiRequest, client: str, address: str, note: str) -> None:
        entries = await asyncio.to_thread(self._of_recipient, client, address)
        plan = removal(entries, self._parts.author(request, note), is_forced=False)
        if plan.complaints:
            raise Conflict(f"{address} complained: only an operator can remove this entry")
        if not plan.records:
            raise NotFound(f"address: {address} has no entry")
        await self._parts.write(plan.records)


def _shown(entries: list[Suppression]) -> list[Entry]:
    return [
        Entry(**{name: getattr(each, name) for name in Entry.__struct_fields__}) for each in entries
    ]


def _place(entry: Suppression) -> Place:
    return entry.recipient, entry.reason.value, entry.form.value
