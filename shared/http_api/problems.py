"""Answers errors of the HTTP APIs with RFC 9457 problems, and checks the parameters of a URL.

A parameter that a route does not know, or that occurs twice, is an error. If such parameters were
ignored, an answer to a misspelled filter would contain more than the client asked for.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.types import Scope, Send

MEDIA_TYPE: Final = "application/problem+json"
MAX_SHOWN_CHARS: Final = 100  # longer parameter values are cut
# A route with this option accepts any parameters. The option is for links in mail, because mail
# programs may add parameters to a link.
ANY_PARAMETERS: Final = "any_parameters"


class Problem(msgspec.Struct, frozen=True):
    """A problem (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def problem_body(status: int, detail: str) -> bytes:
    """Return a problem as JSON."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode(Problem("about:blank", title, status, detail))


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """Return a response with a problem. The response is never cached."""
    return Response(
        problem_body(status, detail),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


async def send_problem(
    scope: Scope, send: Send, status: int, detail: str, headers: Mapping[str, str]
) -> None:
    """Send a problem as ASGI messages, without an application."""
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
    """Return a problem that contains the wrong parameter, its value and the reason."""
    found = error.extra if isinstance(error.extra, list) else []
    faults = [_fault(request, str(each.get("key")), str(each.get("message"))) for each in found]
    headers = dict(error.headers or {})
    return problem(error.status_code, "; ".join(faults) or error.detail, headers)


def _fault(request: Request[Any, Any, Any], name: str, message: str) -> str:
    given = request.query_params.get(name)
    shown = "" if given is None else f"{given[:MAX_SHOWN_CHARS]!r} was given, "
    return f"{name}: {shown}{message[:1].lower()}{message[1:]}"


def fail(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any other error with status 500."""
    return problem(500, type(error).__name__)


def known_parameters(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Refuse unknown and repeated parameters, unless the route has the option ANY_PARAMETERS.

    Raises ValidationException, which becomes a response with the status 400.
    """
    query = connection.scope.get("query_string", b"")
    if connection.scope.get("method") == "OPTIONS":
        return  # OPTIONS asks only for the methods of a path.
    if not query or not isinstance(handler, HTTPRouteHandler) or ANY_PARAMETERS in handler.opt:
        return
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if fault := _parameter_fault([name for name, _ in given], names_of(handler)):
        raise ValidationException(detail=fault)


def names_of(handler: HTTPRouteHandler) -> list[str]:
    """Return the names of the query parameters that a route and its dependencies know."""
    providers = handler.resolve_dependencies().values()
    signatures = [handler.parsed_fn_signature, *(each.parsed_fn_signature for each in providers)]
    return sorted(
        field.kwarg_definition.name or name
        for signature in signatures
        for name, field in signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    )


def _parameter_fault(given: Iterable[str], known: list[str]) -> str:
    for name, times in Counter(given).items():
        shown = name[:100]
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            return f"{shown!r}: no such parameter; known: {', '.join(known) or 'none'}{hint}"
        if times > 1:
            return f"{shown}: given {times} times, expected once"
    return ""
