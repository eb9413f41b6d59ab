"""The page for people: four files, served to everybody, because they have no data.

The browser asks the API with the key that is entered. Nothing comes from elsewhere: the policy in
the headers forbids it.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

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


def page_routes() -> list[HTTPRouteHandler]:
    """The routes of the page."""
    return [_route(path, name, media_type) for path, (name, media_type) in _FILES.items()]


def _route(path: str, name: str, media_type: str) -> HTTPRouteHandler:
    content = resources.files("services.billing.page").joinpath(name).read_bytes()

    @get(path, include_in_schema=False, sync_to_thread=False)
    def page_file() -> Response[bytes]:
        return Response(content, media_type=media_type, headers=HEADERS)

    return page_file
