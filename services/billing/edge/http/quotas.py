"""The route /v1/quotas, which returns the monthly quotas in the scope of a key, and how much of
each is used.

A key for a client gets the quotas of the client and of its sub-clients. A key for a sub-client gets
only the quota of this sub-client, because the quota of the whole client would show how much other
sub-clients send.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from msgspec import json

from services.billing.core.quotas import shown_quotas
from services.billing.core.usage_api.tables import utc_text
from services.billing.edge.http.request import MAX_NAME_CHARS, ApiRequest
from services.billing.edge.http.usage import RESPONSES
from shared.access.keys import Right
from shared.http_api.keyed import require_scope, requires
from shared.http_api.problems import problem
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState

_Client = Annotated[str, QueryParameter(max_length=MAX_NAME_CHARS, description="Only this client.")]
_NOT_READ: Final = "the quotas have not been read yet"


class KnowsQuotas(Protocol):
    """Returns how much of each quota is used. In production this is QuotaView."""

    def ready(self) -> bool:
        """Return True if the quotas have been read."""
        ...

    def state(self, scope: QuotaScope, /) -> QuotaState | None:
        """Return how much of this quota is used."""
        ...

    def beat(self) -> QuotaBeat | None:
        """Return the last beat. The beat contains the time up to which everything is counted."""
        ...


class QuotaRoutes:
    """Makes the route."""

    def __init__(
        self,
        clients: Callable[[], Mapping[str, Client] | None],
        quotas: KnowsQuotas,
        clock: Clock,
    ) -> None:
        self._clients = clients
        self._quotas = quotas
        self._clock = clock

    def handlers(self) -> list[HTTPRouteHandler]:

        @get(
            "/v1/quotas",
            summary="Monthly quotas and their use",
            tags=["quotas"],
            sync_to_thread=False,
            guards=[requires(Right.BILLING_READ)],
            responses=RESPONSES,
        )
        def quotas(request: ApiRequest, client: _Client = "") -> Response[bytes]:
            scope = request.auth.scope
            wanted = client or scope.client
            require_scope(request, wanted)
            known = self._clients()
            if known is None or not self._quotas.ready():
                return problem(503, _NOT_READ, {"Retry-After": "2"})
            if client and client not in known:
                raise NotFoundException(detail=f"client: {client} is not registered")
            chosen = [each for name, each in known.items() if wanted in ("", name)]
            rows = shown_quotas(chosen, self._quotas.state, self._clock.now_ms())
            if scope.sub_client is not None:
                rows = [each for each in rows if each.sub_client == scope.sub_client]
            beat = self._quotas.beat()
            counted_to = utc_text(beat.counted_to_ms) if beat else ""
            body: dict[str, Any] = {"counted_to": counted_to, "quotas": rows}
            headers = {"Cache-Control": "no-store"}
            return Response(json.encode(body), media_type="application/json", headers=headers)

        return [quotas]
