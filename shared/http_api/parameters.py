"""The parameters of a URL: one that a route does not know, or that comes twice, is an error.

Otherwise a misspelled filter would be ignored, and the answer would be about more than was asked.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

from litestar.connection import ASGIConnection
from litestar.exceptions import ValidationException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import QueryParameter

# The option of a route whose links pass through mail programs, which add parameters to them.
ANY_PARAMETERS: Final = "any_parameters"


def known_parameters(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Guard every route but those with the option ANY_PARAMETERS.

    Raises ValidationException, which is answered with 400.
    """
    query = connection.scope.get("query_string", b"")
    if connection.scope.get("method") == "OPTIONS":
        return  # it asks which methods there are, whatever the query of a later request
    if not query or not isinstance(handler, HTTPRouteHandler) or ANY_PARAMETERS in handler.opt:
        return
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if fault := _fault([name for name, _ in given], names_of(handler)):
        raise ValidationException(detail=fault)


def names_of(handler: HTTPRouteHandler) -> list[str]:
    """Return the parameters of the query that a route and its dependencies know."""
    providers = handler.resolve_dependencies().values()
    signatures = [handler.parsed_fn_signature, *(each.parsed_fn_signature for each in providers)]
    return sorted(
        field.kwarg_definition.name or name
        for signature in signatures
        for name, field in signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    )


def _fault(given: Iterable[str], known: list[str]) -> str:
    for name, times in Counter(given).items():
        shown = name[:100]
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            return f"{shown!r}: no such parameter; known: {', '.join(known) or 'none'}{hint}"
        if times > 1:
            return f"{shown}: given {times} times, expected once"
    return ""
