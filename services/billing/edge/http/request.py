"""The parameters of usage requests, and the parts of an answer that a key may see."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from services.billing.core.usage_api.query import (
    DEFAULT_LIMIT,
    MAX_CURSOR_CHARS,
    MAX_LIMIT,
    Filters,
    Query,
    months_between,
    parse_group,
    require_span,
)
from services.billing.core.usage_api.tables import utc_text
from services.billing.edge.usage_view import MAX_WAIT_S
from services.billing.edge.views.answer import EARLIER, Answer, MonthStanding
from shared.access.checking import Grant
from shared.access.keys import EVERYTHING, Scope
from shared.http_api.keyed import require_scope

ApiRequest = Request[Any, Grant, Any]

MAX_NAME_CHARS: Final = 255
_Month = Annotated[str, QueryParameter(description="YYYY-MM", max_length=16)]
_Name = Annotated[str | None, QueryParameter(max_length=MAX_NAME_CHARS)]
_Group = Annotated[
    str,
    QueryParameter(
        description="Some of month, client, mailing_id, sub_client, day, separated by commas.",
        max_length=100,
    ),
]
_First = Annotated[str, QueryParameter(name="from", description="YYYY-MM", max_length=16)]
_Limit = Annotated[
    int, QueryParameter(ge=1, le=MAX_LIMIT, description="Number of rows per page of JSON.")
]
_Cursor = Annotated[
    str, QueryParameter(max_length=MAX_CURSOR_CHARS, description="`next` of the previous page.")
]
_WaitS = Annotated[
    float,
    QueryParameter(ge=0, le=MAX_WAIT_S, description="Wait until everything committed is counted."),
]


class UsageParameters(Struct, frozen=True):
    """The parameters of a usage request in the form in which the client sent them."""

    month: str
    first: str
    last: str
    filters: Filters
    group: str
    limit: int
    cursor: str
    wait_s: float

    def query(self, request: ApiRequest, months: tuple[str, ...] = ()) -> Query:
        """Return the query, limited to the scope of the key. If the request contains no months, the
        query uses the argument `months`.

        Raises an error with status 403 if the request is outside the scope of the key. Raises
        QueryFault if a parameter is not valid.
        """
        require_scope(
            request, self.filters.client or request.auth.scope.client, self.filters.sub_client
        )
        if not months or self.month or self.first or self.last:
            months = months_between(self.month, self.first, self.last)
        return Query(
            require_span(months), self.filters.within(request.auth.scope), parse_group(self.group)
        )


def usage_parameters(  # noqa: PLR0913 - the parameters of an address
    *,
    month: _Month = "",
    first: _First = "",
    to: _Month = "",
    client: _Name = None,
    mailing_id: _Name = None,
    sub_client: _Name = None,
    group: _Group = "",
    limit: _Limit = DEFAULT_LIMIT,
    cursor: _Cursor = "",
    wait_s: _WaitS = 0.0,
) -> UsageParameters:
    """Return the parameters of a route that responds with usage figures. The routes declare this
    function as a dependency."""
    # An empty client name in the request selects all clients, because no client has an empty name.
    filters = Filters(client or None, mailing_id, sub_client)
    return UsageParameters(month, first, to, filters, group, limit, cursor, wait_s)


Wanted = NamedDependency[UsageParameters]


def standing_of(answer: Answer, scope: Scope) -> dict[str, Any]:
    """Return the fields `complete`, `reason`, `lag` and `as_of` of an answer. A key for one client
    gets no offsets and no lag, because these numbers include the events of other clients."""
    is_all = scope == EVERYTHING
    lag: dict[int, int] = {}
    for each in answer.standings:
        lag |= each.lag
    hidden = "" if answer.complete else "not everything is counted yet, or some of it was lost"
    if any(each.is_earlier for each in answer.standings):
        hidden = EARLIER.format(utc_text(answer.at_ms))
    return {
        "complete": answer.complete,
        "reason": answer.reason if is_all else hidden,
        "lag": lag if is_all else {},
        "as_of": {
            "at": utc_text(answer.at_ms),
            "at_ms": answer.at_ms,
            "months": [_month_standing(each, is_all) for each in answer.standings],
        },
    }


def _month_standing(standing: MonthStanding, is_all: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "month": standing.month,
        "status": standing.status.value,
        "complete": standing.complete,
    }
    if is_all:
        found |= {"log": standing.log, "offsets": standing.offsets, "lag": standing.lag}
    return found
