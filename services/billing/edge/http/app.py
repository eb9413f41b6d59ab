"""The HTTP API of the billing service: its routes, its errors, its OpenAPI document, and its web
page.

The threads of the API run beside the counting loop. A key gives access only to the cells of its
scope. Requests without a key get only /health, the files of the web page and the description of the
API. None of these answers contains data of clients.

The web page consists of four files. The user enters a key, which the browser sends to the API. The
headers of the page have a policy that forbids the browser to load anything from another server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from importlib import resources
from typing import Any, Final, Protocol

from litestar import Litestar, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from msgspec import structs

from services.billing.core.month import Months
from services.billing.core.usage_api.query import QueryFault
from services.billing.edge.http.months import MonthRoutes
from services.billing.edge.http.slots import NoRoom
from services.billing.edge.http.usage import UsageRoutes
from services.billing.edge.messages import OtherEvents
from services.billing.edge.temporary_files import DiskUnavailable
from services.billing.edge.views.adjustments import BeingCompared
from services.billing.edge.views.books import StatementsUnknown
from services.billing.edge.views.reader import (
    CountsChanged,
    TooManyWait,
    UnknownClient,
    UsageReader,
)
from shared.http_api.docs_page import DOCS_PATH, docs_route
from shared.http_api.keyed import AccessPolicy, KeyedApi
from shared.http_api.problems import problem
from shared.runtime.errors import PartUnavailable
from shared.store.client import StoreUnavailable

_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
}
PUBLIC: Final = frozenset({"/health", *_FILES})
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
VERSION: Final = "1"
AnyRequest = Request[Any, Any, Any]


class HasRoutes(Protocol):
    """Makes routes."""

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        ...


def page_routes() -> list[HTTPRouteHandler]:
    return [_route(path, name, media_type) for path, (name, media_type) in _FILES.items()]


def _route(path: str, name: str, media_type: str) -> HTTPRouteHandler:
    content = resources.files("services.billing.page").joinpath(name).read_bytes()

    @get(path, include_in_schema=False, sync_to_thread=False)
    def page_file() -> Response[bytes]:
        return Response(content, media_type=media_type, headers=HEADERS)

    return page_file


@get("/health", summary="Whether the server answers", include_in_schema=True, tags=["health"])
async def health() -> dict[str, str]:
    """Needs no key."""
    return {"status": "ok"}


def make_app(
    reader: UsageReader, months: Months, policy: AccessPolicy, more: Iterable[HasRoutes]
) -> Litestar:
    """Create the application."""
    return KeyedApi(
        [
            health,
            *page_routes(),
            docs_route(),
            *UsageRoutes(reader, months).handlers(),
            *MonthRoutes(reader).handlers(),
            *(route for each in more for route in each.handlers()),
        ],
        structs.replace(policy, public=PUBLIC | {DOCS_PATH}),
        {
            QueryFault: _query_fault,
            UnknownClient: _unknown_client,
            CountsChanged: _counts_changed,
            StoreUnavailable: _unavailable,
            NoRoom: _no_room,
            TooManyWait: _too_many_wait,
            BeingCompared: _being_compared,
            sqlite3.Error: _no_view,
            OSError: _no_view,
            DiskUnavailable: _unavailable,
            OtherEvents: _unavailable,
            StatementsUnknown: _unavailable,
            PartUnavailable: _unavailable,
        },
        openapi_config=OpenAPIConfig(
            title="Sluice billing",
            version=VERSION,
            path="/openapi",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=Components(
                security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
            ),
            security=[{"key": []}],
        ),
    )


def _query_fault(_: AnyRequest, error: QueryFault) -> Response[bytes]:
    return problem(400, str(error))


def _unknown_client(_: AnyRequest, error: UnknownClient) -> Response[bytes]:
    return problem(404, f"client: {error} is not registered, and nothing was counted for it")


def _counts_changed(_: AnyRequest, __: CountsChanged) -> Response[bytes]:
    return problem(
        409, "cursor: the counts have changed since the first page; begin again, or ask for a file"
    )


def _unavailable(_: AnyRequest, error: Exception) -> Response[bytes]:
    return problem(503, str(error), {"Retry-After": "5"})


def _no_room(_: AnyRequest, __: NoRoom) -> Response[bytes]:
    return problem(503, "too many files are being made; try again", {"Retry-After": "10"})


def _too_many_wait(_: AnyRequest, __: TooManyWait) -> Response[bytes]:
    return problem(503, "wait_s: too many requests wait; try again", {"Retry-After": "2"})


def _being_compared(_: AnyRequest, __: BeingCompared) -> Response[bytes]:
    return problem(
        503, "counts are being compared with the statements; try again", {"Retry-After": "5"}
    )


def _no_view(_: AnyRequest, error: Exception) -> Response[bytes]:
    return problem(503, f"the counts cannot be sorted: {type(error).__name__}: {error}")
