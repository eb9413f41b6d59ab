"""Errors of the HTTP APIs as RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope, Send

MEDIA_TYPE: Final = "application/problem+json"
MAX_SHOWN_CHARS: Final = 100  # of a parameter that was given


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


def problem_body(status: int, detail: str) -> bytes:
    """The JSON of a problem."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode(Problem("about:blank", title, status, detail))


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A response with a problem. It is never cached."""
    return Response(
        problem_body(status, detail),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


async def send_problem(
    scope: Scope, send: Send, status: int, detail: str, headers: Mapping[str, str]
) -> None:
    """Send a problem without an application, as ASGI messages."""
    body = problem_body(status, detail)
    named = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **headers,
    }
    encoded = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    shown = b"" if scope.get("method") == "HEAD" else body
    await send({"type": "http.response.body", "body": shown, "more_body": False})


def refuse(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The handler of Litestar's own errors: which parameter is wrong, what was given, and why."""
    found = error.extra if isinstance(error.extra, list) else []
    faults = [_fault(request, str(each.get("key")), str(each.get("message"))) for each in found]
    headers = dict(error.headers or {})
    return problem(error.status_code, "; ".join(faults) or error.detail, headers)


def _fault(request: Request[Any, Any, Any], name: str, message: str) -> str:
    given = request.query_params.get(name)
    shown = "" if given is None else f"{given[:MAX_SHOWN_CHARS]!r} was given, "
    return f"{name}: {shown}{message[:1].lower()}{message[1:]}"


def fail(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The handler of every other error."""
    return problem(500, type(error).__name__)
