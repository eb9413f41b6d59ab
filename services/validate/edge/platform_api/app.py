"""Builds the HTTP API for platforms: the routes, the errors and the OpenAPI document.

A key gives access only to the data of its client. Requests without a key can use only /health, the
description of the API and the pages of unsubscribe links.

If a path contains an address, the routes get the address percent-encoded, as in the request line.
The ASGI server would decode the path before the path is split, so the `/` of `a%2Fb@example.com`
would split the address. X.400 gateways write addresses with a `/`. So under two path prefixes the
path is split first, and recipient_of_path() (request.py) decodes the address. Nothing else in a
request changes. The check of access is not affected, because it uses the prefix of the path.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Litestar, Request, Response, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from msgspec import Struct, structs

from services.validate.core.platform_api.requests import Busy, Conflict, NotFound, QueryFault
from services.validate.edge.platform_api.counters import CounterRoutes
from services.validate.edge.platform_api.messages import MessageRoutes
from services.validate.edge.platform_api.suppressions import SuppressionRoutes
from services.validate.edge.platform_api.unsubscribe import FOLDER, UnsubscribeRoutes
from services.validate.edge.platform_api.writer import NotWritten
from shared.http_api.docs_page import DOCS_PATH, docs_route
from shared.http_api.keyed import AccessPolicy, KeyedApi
from shared.http_api.problems import problem
from shared.runtime.errors import Unavailable

_FOLDERS: Final = (b"/v1/suppressions/", b"/v1/responses/")
VERSION: Final = "1"
AnyRequest = Request[Any, Any, Any]


class PlatformApi(KeyedApi):
    """The application. Its routes get addresses in percent-encoded form."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await super().__call__(_with_encoded_path(scope), receive, send)


def _with_encoded_path(scope: Any) -> Any:
    raw = (scope.get("raw_path") or b"").partition(b"?")[0]
    own = raw.removeprefix(scope.get("root_path", "").encode())
    if scope["type"] != "http" or not own.startswith(_FOLDERS):
        return scope
    return {**scope, "path": raw.decode("latin-1")}


class Routes(Struct, frozen=True):
    """The groups of routes."""

    suppressions: SuppressionRoutes
    counters: CounterRoutes
    messages: MessageRoutes
    unsubscribe: UnsubscribeRoutes


@get("/health", summary="Whether the server answers", tags=["health"], security=[{}])
async def health() -> dict[str, str]:
    """Needs no key."""
    return {"status": "ok"}


def make_app(routes: Routes, policy: AccessPolicy) -> Litestar:
    """Create the application."""
    return PlatformApi(
        [
            health,
            docs_route(),
            *routes.suppressions.handlers(),
            *routes.counters.handlers(),
            *routes.messages.handlers(),
            *routes.unsubscribe.handlers(),
        ],
        structs.replace(policy, public=frozenset({"/health", DOCS_PATH}), public_folders=(FOLDER,)),
        {
            QueryFault: _answer(400),
            NotFound: _answer(404),
            Conflict: _answer(409),
            Busy: _answer(503, "5"),
            NotWritten: _answer(503, "5"),
            Unavailable: _answer(503, "5"),
        },
        openapi_config=OpenAPIConfig(
            title="Sluice for platforms",
            version=VERSION,
            path="/openapi",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=Components(
                security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
            ),
            security=[{"key": []}],
        ),
    )


def _answer(status: int, retry_after: str = "") -> Any:
    headers = {"Retry-After": retry_after} if retry_after else {}

    def handler(_: AnyRequest, error: Exception) -> Response[bytes]:
        return problem(status, str(error), headers)

    return handler
