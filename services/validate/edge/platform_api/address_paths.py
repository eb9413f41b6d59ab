"""Addresses in paths: they reach the routes percent-encoded, as the request line has them.

The ASGI server decodes a path before it is divided, and then the `/` of `a%2Fb@example.com` divides
it, too; an X.400 gateway writes such addresses. Below these folders the path is therefore divided
first, and recipient_of_path() (request.py) decodes the address. Nothing else of a request changes,
and access is judged by the folder.
"""

from __future__ import annotations

from typing import Any, Final

from shared.http_api.keyed import KeyedApi

_FOLDERS: Final = (b"/v1/suppressions/", b"/v1/responses/")


class PlatformApi(KeyedApi):
    """The application, whose routes get addresses percent-encoded."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await super().__call__(_with_encoded_path(scope), receive, send)


def _with_encoded_path(scope: Any) -> Any:
    raw = (scope.get("raw_path") or b"").partition(b"?")[0]
    own = raw.removeprefix(scope.get("root_path", "").encode())
    if scope["type"] != "http" or not own.startswith(_FOLDERS):
        return scope
    return {**scope, "path": raw.decode("latin-1")}
