"""The routes /v1/usage/messages, which list the ids of counted mails as JSON lines or CSV.

The ids are streamed in bounded memory while mail.events is read. The header `Sluice-Count` has the
count. If Kafka has deleted events of the month, or if an event was dated in the future when it was
stored, fewer ids than the count are listed. In these cases `sluice billing messages` can read an
archive or the whole log. A request reads all events that were stored after the beginning of the
month, which takes about 15 µs per event. So these requests have their own slots (slots.py): at most
two requests run at a time, and at most one per key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.response import Stream

from services.billing.core.month import Months
from services.billing.core.usage_api.query import Filters, Query
from services.billing.core.usage_api.tables import Table, csv_lines, utc_text
from services.billing.core.usage_messages import (
    COLUMNS,
    KINDS,
    ListedMail,
    Wanted,
    named_of,
    require_listable,
    row_of,
)
from services.billing.edge.http.exports import CSV
from services.billing.edge.http.request import MAX_NAME_CHARS, ApiRequest
from services.billing.edge.http.slots import Slots
from services.billing.edge.http.usage import RESPONSES
from services.billing.edge.messages import ReadsEvents, list_messages
from services.billing.edge.views.answer import Answer
from services.billing.edge.views.reader import UsageReader
from shared.access.keys import Right
from shared.http_api.keyed import require_scope, requires

MAX_READERS: Final = 2
_LINES: Final = "application/x-ndjson"
_Month = Annotated[str, QueryParameter(description="YYYY-MM", max_length=16)]
_Day = Annotated[
    str, QueryParameter(description="YYYY-MM-DD. Empty: the whole month.", max_length=16)
]
_Name = Annotated[str | None, QueryParameter(max_length=MAX_NAME_CHARS)]
_Kind = Annotated[str, QueryParameter(description=f"One of {', '.join(KINDS)}.", max_length=32)]
_Detail = Annotated[str, QueryParameter(description="A rule, a reason or a class.", max_length=32)]

OpensLog = Callable[[], AbstractContextManager[ReadsEvents]]


class MessageRoutes:
    """Makes the routes."""

    def __init__(self, reader: UsageReader, months: Months, open_log: OpensLog) -> None:
        self._reader = reader
        self._months = months
        self._open_log = open_log
        self._slots = Slots(MAX_READERS)

    def handlers(self) -> list[HTTPRouteHandler]:
        return [self._route("", "JSON lines"), self._route(CSV.suffix, "CSV")]

    def _route(self, suffix: str, form: str) -> HTTPRouteHandler:
        @get(
            f"/v1/usage/messages{suffix}",
            summary=f"The mail ids of one count, as {form}",
            operation_id=f"messages_{suffix.removeprefix('.') or 'lines'}",
            tags=["usage"],
            sync_to_thread=True,
            guards=[requires(Right.BILLING_READ)],
            responses=RESPONSES,
        )
        def messages(  # noqa: PLR0913, PLR0917 - the parameters of an address
            request: ApiRequest,
            month: _Month = "",
            kind: _Kind = "billed",
            day: _Day = "",
            client: _Name = None,
            mailing_id: _Name = None,
            sub_client: _Name = None,
            detail: _Detail = "",
        ) -> Response[Any]:
            filters = Filters(client or None, mailing_id, sub_client)
            require_scope(request, filters.client or request.auth.scope.client, sub_client)
            within = filters.within(request.auth.scope)
            wanted = Wanted(
                month, kind, day, within.client, within.mailing_id, within.sub_client, detail
            )
            require_listable(wanted)
            return self._answer(request, wanted, within, is_csv=bool(suffix))

        return messages

    def _answer(
        self, request: ApiRequest, wanted: Wanted, filters: Filters, *, is_csv: bool
    ) -> Response[Any]:
        answer = self._reader.answer(Query((wanted.month,), filters, ("day",)))
        standing = answer.shelved[0].progress
        with_slot = self._slots.stream(
            _written(self._read(wanted, standing.log, standing.watermarks), is_csv=is_csv),
            request.auth.key,
        )
        headers = {
            "Sluice-Count": str(count_of(answer, wanted)),
            "Sluice-As-Of": utc_text(answer.at_ms),
            "Cache-Control": "no-store",
        }
        return Stream(with_slot, media_type=CSV.media_type if is_csv else _LINES, headers=headers)

    def _read(self, wanted: Wanted, log_id: str, offsets: dict[int, int]) -> Iterator[ListedMail]:
        with self._open_log() as log:
            yield from list_messages(log, wanted, self._months, (log_id, offsets))


def count_of(answer: Answer, wanted: Wanted) -> int:
    """Return the number of the wanted mails."""
    found = 0
    for row in answer.rows():
        named = row.named(("day",))
        if wanted.day in ("", named["day"]):
            words = named["details"].get(wanted.kind, {})
            found += words.get(wanted.detail, 0) if wanted.detail else named[wanted.kind]
    return found


def _written(mails: Iterator[ListedMail], *, is_csv: bool) -> Iterator[bytes]:
    if is_csv:
        yield from csv_lines(Table(COLUMNS, len(COLUMNS) - 1, map(row_of, mails)))
        return
    yield from (msgspec.json.encode(named_of(mail)) + b"\n" for mail in mails)
