"""The routes /v1/months and /v1/statements, which return the states of months, their sums, and the
signed statements."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter
from litestar.response import Stream

from services.billing.core.closing.chain import Closed
from services.billing.core.closing.statement import encode_statement
from services.billing.core.month import MonthState, is_month
from services.billing.core.usage_api.query import Filters, Query, QueryFault
from services.billing.core.usage_api.tables import utc_text
from services.billing.edge.http.headers import cache_headers, etag_of, is_known, not_modified
from services.billing.edge.http.request import ApiRequest, standing_of
from services.billing.edge.http.usage import RESPONSES
from services.billing.edge.views.reader import UsageReader
from shared.access.keys import EVERYTHING, Right, Scope
from shared.http_api.keyed import requires

_Month = Annotated[str, PathParameter(description="YYYY-MM")]
_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"


class MonthRoutes:
    """Makes the routes."""

    def __init__(self, reader: UsageReader) -> None:
        self._reader = reader

    def handlers(self) -> list[HTTPRouteHandler]:
        """Return the routes of months and of their statements."""
        options: dict[str, Any] = {
            "sync_to_thread": True,
            "guards": [requires(Right.BILLING_READ)],
            "responses": RESPONSES,
        }
        return [*self._month_routes(options), *self._statement_routes(options)]

    def _month_routes(self, options: dict[str, Any]) -> list[HTTPRouteHandler]:
        @get("/v1/months", summary="The months and their states", tags=["months"], **options)
        def months(request: ApiRequest) -> Response[bytes]:
            states, closed = self._reader.months()
            scope = request.auth.scope
            present = self._reader.present()
            found = [
                _shown(month, state, closed.get(month), scope) for month, state in states.items()
            ]
            return _answered(request, {"present": present, "months": found}, is_final=False)

        @get("/v1/months/{month:str}", summary="A month: sums and days", tags=["months"], **options)
        def one_month(request: ApiRequest, month: _Month) -> Response[bytes]:
            return self._month(request, _checked(month))

        return [months, one_month]

    def _statement_routes(self, options: dict[str, Any]) -> list[HTTPRouteHandler]:
        @get(
            "/v1/statements/{month:str}",
            summary="The signed header of a statement, byte by byte",
            tags=["statements"],
            **options,
        )
        def statement(request: ApiRequest, month: _Month) -> Response[bytes]:
            found = self._statement(request, _checked(month))
            return _document(request, encode_statement(found.statement), _JSON)

        @get(
            "/v1/statements/{month:str}/lines",
            summary="The lines that the statement hashes, byte by byte",
            tags=["statements"],
            **options,
        )
        def lines(request: ApiRequest, month: _Month) -> Response[Any]:
            found = self._statement(request, _checked(month))
            headers = cache_headers(etag_of(found.statement.sha256), is_final=True)
            if is_known(request, headers["ETag"]):
                return not_modified(headers)
            return Stream(found.text.pieces(), media_type=_LINES, headers=headers)

        return [statement, lines]

    def _month(self, request: ApiRequest, month: str) -> Response[bytes]:
        scope = request.auth.scope
        filters = Filters().within(scope)
        answer = self._reader.answer(Query((month,), filters, ("day",)))
        days = [row.named(("day",)) for row in answer.rows()]
        closed = answer.shelved[0].statement
        body = {
            **_shown(month, answer.standings[0].status, closed, scope),
            **standing_of(answer, scope),
            "totals": answer.totals(),
            "days": days,
        }
        return _answered(request, body, is_final=answer.is_final)

    def _statement(self, request: ApiRequest, month: str) -> Closed:
        if request.auth.scope != EVERYTHING:
            raise PermissionDeniedException(
                detail="a statement has the counts of all clients; the access key gives access to "
                f"{request.auth.scope.described()} only"
            )
        # The statements are on Kafka, so the store is not queried.
        closed = self._reader.closed()
        if month not in closed:
            states, _ = self._reader.months()
            state = states.get(month)
            rest = f"{month} is {state.value}" if state else f"nothing was counted for {month}"
            raise NotFoundException(detail=f"{rest}: there is no statement")
        return closed[month]


def _checked(month: str) -> str:
    if not is_month(month):
        raise QueryFault(f"month: {month!r} is not a month; give YYYY-MM, for example 2026-07")
    return month


def _shown(month: str, state: MonthState, closed: Closed | None, scope: Scope) -> dict[str, Any]:
    """Return a month as the API shows it. Only a key for all clients gets the statement's sums and
    its number of lines."""
    found: dict[str, Any] = {"month": month, "status": state.value}
    if closed is None:
        return found
    header = closed.statement
    found |= {
        "complete": header.complete,
        "closed_at": utc_text(header.closed_at_ms),
        "closed_by": header.closed_by,
        "time_zone": header.time_zone,
        "sha256": header.sha256,
        "signed": bool(header.signature),
    }
    if scope == EVERYTHING:
        found |= {"lines": header.lines, "adjustments": header.adjustments}
        found |= {"adjusted": header.adjusted}
    return found


def _answered(request: ApiRequest, body: object, *, is_final: bool) -> Response[bytes]:
    encoded = msgspec.json.encode(body)
    return _cached(request, encoded, _JSON, is_final=is_final)


def _document(request: ApiRequest, body: bytes, media_type: str) -> Response[bytes]:
    return _cached(request, body, media_type, is_final=True)


def _cached(
    request: ApiRequest, body: bytes, media_type: str, *, is_final: bool
) -> Response[bytes]:
    headers = cache_headers(etag_of(base64.b64encode(body).decode()), is_final=is_final)
    if is_known(request, headers["ETag"]):
        return not_modified(headers)
    return Response(body, media_type=media_type, headers=headers)
