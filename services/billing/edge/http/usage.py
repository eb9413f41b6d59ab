"""The routes /v1/usage, which return the counts of one month or several months, as pages of JSON or
as a file.

The routes /v1/adjustments use the same formats. They return the counts that were added to closed
months after the close. These counts will be in the next statement.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream
from msgspec import structs

from services.billing.core.month import Months
from services.billing.core.usage_api.query import (
    Cursor,
    Query,
    QueryFault,
    decode_cursor,
    encode_cursor,
)
from services.billing.core.usage_api.tables import (
    Stamp,
    Table,
    file_name,
    focus_table,
    usage_table,
    utc_text,
)
from services.billing.edge.http.exports import FORMATS, JSON, Exports, Format
from services.billing.edge.http.headers import (
    cache_headers,
    etag_of,
    is_known,
    not_modified,
    wanted_format,
)
from services.billing.edge.http.request import (
    ApiRequest,
    Wanted,
    standing_of,
    usage_parameters,
)
from services.billing.edge.views.answer import Answer
from services.billing.edge.views.reader import UsageReader
from shared.access.keys import Right
from shared.http_api.keyed import requires
from shared.http_api.problems import Problem, problem

_Columns = Annotated[
    str, QueryParameter(pattern="^(usage|focus)$", description="Names of columns: usage or focus.")
]
_Stated = Annotated[
    str,
    QueryParameter(
        description="YYYY-MM: the adjustments in the statement of this month.", max_length=16
    ),
]
_Style = Annotated[
    str,
    QueryParameter(
        pattern="^(plain|european)$", description="CSV: plain, or european (semicolons and a BOM)."
    ),
]
RESPONSES: Final = {
    status: ResponseSpec(Problem, description=text, media_type="application/problem+json")
    for status, text in {
        400: "A parameter is not valid.",
        401: "There is no valid key.",
        403: "The key gives no access to this.",
        404: "There is no such client or month.",
        409: "The counts have changed since the first page.",
        429: "Too many requests.",
        503: "The store or the keys are unavailable.",
    }.items()
}
_OPTIONS: Final[dict[str, Any]] = {
    "sync_to_thread": True,
    "guards": [requires(Right.BILLING_READ)],
    "dependencies": {"wanted": Provide(usage_parameters, sync_to_thread=False)},
    "responses": RESPONSES,
    "response_headers": (ResponseHeader(name="ETag", documentation_only=True, value=None),),
    "tags": ["usage"],
}


class UsageRoutes:
    """Makes the routes."""

    def __init__(self, reader: UsageReader, months: Months) -> None:
        self._reader = reader
        self._months = months
        self._exports = Exports()

    def handlers(self) -> list[HTTPRouteHandler]:
        """Return the routes. There is one route per format, and a route whose format the Accept
        header selects."""
        forms = (None, *FORMATS)
        return [*map(self._usage_route, forms), *map(self._adjustments_route, forms)]

    def _usage_route(self, form: Format | None) -> HTTPRouteHandler:
        @get(**_described("usage", "Usage", form))
        def usage(
            request: ApiRequest,
            wanted: Wanted,
            columns: _Columns = "usage",
            style: _Style = "plain",
        ) -> Response[Any]:
            query = partial(wanted.query, request)
            return self._answer(request, wanted, form, query, columns=columns, style=style)

        return usage

    def _adjustments_route(self, form: Format | None) -> HTTPRouteHandler:
        @get(
            **_described(
                "adjustments", "The adjustments of closed months in the next statement", form
            )
        )
        def adjustments(
            request: ApiRequest, wanted: Wanted, style: _Style = "plain", statement: _Stated = ""
        ) -> Response[Any]:
            query = partial(self._adjustments, request, wanted, statement)
            return self._answer(request, wanted, form, query, columns="usage", style=style)

        return adjustments

    def _adjustments(self, request: ApiRequest, wanted: Wanted, statement: str) -> Query:
        """Return the answer to a request for adjustments. These are the adjustments that wait for
        the next statement, or the adjustments in an existing statement."""
        if not statement:
            return structs.replace(wanted.query(request), is_pending=True)
        months = self._reader.adjusted_months(statement)
        return structs.replace(wanted.query(request, months), statement=statement)

    def _answer(
        self,
        request: ApiRequest,
        wanted: Wanted,
        asked: Format | None,
        make_query: Callable[[], Query],
        *,
        columns: str,
        style: str,
    ) -> Response[Any]:
        """Return the answer in the format `asked`. If `asked` is None, use the format that the
        Accept header selects."""
        form = asked or wanted_format(request.headers.get("accept", ""))
        if form is None:
            return problem(406, f"Accept: {', '.join(each.media_type for each in FORMATS)}")
        query = make_query()
        cursor = decode_cursor(wanted.cursor, query) if wanted.cursor else None
        if form is not JSON and cursor is not None:
            raise QueryFault("cursor: leave it out, because a file has all rows")
        if cursor is not None:
            answer = self._reader.again(query, cursor)
        else:
            answer = self._reader.answer(query, wanted.wait_s)
        standing = standing_of(answer, request.auth.scope)
        etag = etag_of(
            query.digest(),
            answer.ids,
            standing,
            form.name,
            wanted.limit,
            wanted.cursor,
            columns,
            style,
        )
        headers = cache_headers(etag, is_final=answer.is_final)
        headers["Sluice-Complete"] = "true" if answer.complete else "false"
        headers["Sluice-As-Of"] = utc_text(answer.at_ms)
        if is_known(request, etag):
            return not_modified(headers)
        if form is JSON:
            after = cursor.after if cursor else None
            body = page_of(answer, standing, after, wanted.limit)
            return Response(msgspec.json.encode(body), media_type=form.media_type, headers=headers)
        return self._file(request, answer, form, headers, columns=columns, style=style)

    def _file(
        self,
        request: ApiRequest,
        answer: Answer,
        form: Format,
        headers: dict[str, str],
        *,
        columns: str,
        style: str,
    ) -> Response[Any]:
        table = self._table(answer, columns)
        about = {
            "months": " ".join(answer.query.months),
            "complete": headers["Sluice-Complete"],
            "as_of": headers["Sluice-As-Of"],
            "status": " ".join(each.status.value for each in answer.standings),
        }
        owner = request.auth.key
        pieces = self._exports.pieces(
            form, table, about, is_european=style == "european", owner=owner
        )
        kinds = ["adjustments"] if answer.query.is_pending else []
        kinds += [f"adjusted-by-{answer.query.statement}"] if answer.query.statement else []
        kinds += [each for each in (columns, style) if each in ("focus", "european")]
        name = file_name(answer.query.months, form.suffix, *kinds)
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return Stream(pieces, media_type=form.media_type, headers=headers)

    def _table(self, answer: Answer, columns: str) -> Table:
        stamp = Stamp(answer.at_ms, answer.complete)
        group = answer.query.group
        if columns == "usage":
            return usage_table(group, answer.rows(), stamp)
        if "month" not in group:
            raise QueryFault("group: the columns of FOCUS need the month")
        return focus_table(group, answer.rows(), stamp, self._months)


def _described(name: str, summary: str, form: Format | None) -> dict[str, Any]:
    """Return the options of a route for this format, or for the format that the Accept header
    selects."""
    if form is None:
        own = {"path": f"/v1/{name}", "summary": f"{summary}, in the form that Accept names"}
    else:
        own = {
            "path": f"/v1/{name}{form.suffix}",
            "summary": f"{summary}, as {form.name.upper()}",
            "operation_id": f"{name}_{form.name}",
        }
    return {**own, **_OPTIONS}


def page_of(
    answer: Answer, standing: dict[str, Any], after: tuple[str, ...] | None, limit: int
) -> dict[str, Any]:
    """Return one page of JSON. The page also has the totals of all pages, and the cursor for the
    next page."""
    group = answer.query.group
    found = list(islice(answer.rows(after, limit + 1), limit + 1))
    shown = found[:limit]
    following = None
    if len(found) > limit:
        digest = answer.query.digest()
        following = encode_cursor(Cursor(digest, answer.ids, shown[-1].key))
    return {
        "months": answer.query.months,
        "group": group,
        **standing,
        "totals": answer.totals(),
        "rows": [row.named(group) for row in shown],
        "next": following,
    }
