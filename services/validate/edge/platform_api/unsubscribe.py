"""/u/{token}: the page behind an unsubscribe link, and one-click unsubscribing (RFC 8058).

GET shows the page and changes nothing, because programs that check mail also open links. POST with
`List-Unsubscribe=One-Click` writes the event and the entry, and answers 200 when Kafka has both.
The request needs no key, because the token is signed. For a forged or expired token, only one HMAC
is computed, and nothing is written. An existing entry is not written again.

If Kafka does not answer within WRITE_S, the response is 503, although the records may still have
been written. After a 503, mail software tries again; people see the reason on the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter
from msgspec import Struct

from services.validate.core.platform_api.requests import form_fields
from services.validate.core.platform_api.unsubscribing import (
    HEADERS,
    Page,
    draw,
    entry_of,
    event_of,
    is_one_click,
    language_of,
)
from services.validate.edge.platform_api.request import Parts, output_of
from services.validate.edge.platform_api.writer import NotWritten
from shared.http_api.problems import ANY_PARAMETERS
from shared.mail import verp
from shared.mail.unsubscribe import MAX_CHARS, Unsubscription, read_token
from shared.mail.verp import Keys, Refused
from shared.registry.client import Client
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.stream.outputs import event_records
from shared.stream.transactions import Output
from shared.topics.records import EventType

FOLDER: Final = "/u/"
SERVICE: Final = "api"
MAX_BODY_BYTES: Final = 16_384
# The form of a request must arrive within this time. The limit is needed because anybody may send
# requests.
BODY_S: Final = 10.0
UNSUBSCRIBED: Final = Metric(
    "sluice_api_unsubscribed", "Links to unsubscribe that were used, by client.", ("client",)
)
REFUSED: Final = Metric(
    "sluice_api_links_refused",
    "Links to unsubscribe that were refused, by reason: forged or expired.",
    ("reason",),
)
AnyRequest = Request[Any, Any, Any]
_Token = Annotated[
    str, PathParameter(max_length=2 * MAX_CHARS, description="The last part of the link.")
]


def _page_of(text: str) -> ResponseSpec:
    return ResponseSpec(bytes, description=text, media_type="text/html", generate_examples=False)


_ANSWERS: Final = {
    200: _page_of("GET: the page with the button. POST: the recipient is unsubscribed."),
    404: _page_of("The link is not one of this installation."),
    410: _page_of("The link has expired."),
}
_POST_ANSWERS: Final = _ANSWERS | {
    400: _page_of("The form has no `List-Unsubscribe=One-Click`."),
    408: _page_of("The form did not arrive in time."),
    413: _page_of("The form is too large."),
    503: _page_of("Kafka does not answer, so it is not known whether the request was stored."),
}


class Links(Struct, frozen=True):
    """The current keys for verifying links (None if no file is set), and the time for which links
    are valid."""

    keys: Callable[[], Keys | None]
    days_valid: int


class UnsubscribeMetrics:
    """The counters of unsubscribing."""

    def __init__(self, counters: Counters) -> None:
        self.unsubscribed: Counter = counters.counter(UNSUBSCRIBED)
        self.refused: Counter = counters.counter(REFUSED)


class _Verified(Struct, frozen=True):
    wish: Unsubscription
    client: Client


class UnsubscribeRoutes:
    """Makes the routes."""

    def __init__(self, parts: Parts, links: Links, metrics: UnsubscribeMetrics) -> None:
        self._parts = parts
        self._links = links
        self._metrics = metrics

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        common: dict[str, Any] = {
            "tags": ["unsubscribe"],
            "security": [{}],
            "opt": {ANY_PARAMETERS: True},
        }

        @get(
            f"{FOLDER}{{token:str}}",
            summary="The page with the button; changes nothing",
            responses=_ANSWERS,
            **common,
        )
        async def page(request: AnyRequest, token: _Token) -> Response[bytes]:
            found = self._verify(token)
            if isinstance(found, _Verified):
                return _shown(request, 200, Page.ASK, found)
            return _shown(request, *found)

        @post(
            f"{FOLDER}{{token:str}}",
            summary="Unsubscribe",
            status_code=200,
            responses=_POST_ANSWERS,
            request_max_body_size=MAX_BODY_BYTES,
            **common,
        )
        async def one_click(request: AnyRequest, token: _Token) -> Response[bytes]:
            return await self._unsubscribe(request, token)

        return [page, one_click]

    async def _unsubscribe(self, request: AnyRequest, token: str) -> Response[bytes]:
        found = self._verify(token)
        if not isinstance(found, _Verified):
            return _shown(request, *found)
        try:
            body = await asyncio.wait_for(request.body(), BODY_S)
        except TimeoutError:
            return _shown(request, 408, Page.NOT_ASKED)
        if not is_one_click(form_fields(request.headers.get("content-type", ""), body)):
            return _shown(request, 400, Page.NOT_ASKED)
        if not self._is_listed(found):
            try:
                await self._parts.writer.write(self._outputs(found))
            except NotWritten:
                later = _shown(request, 503, Page.LATER)
                later.headers["Retry-After"] = "60"
                return later
            self._metrics.unsubscribed.add(1, found.client.name)
        return _shown(request, 200, Page.DONE, found)

    def _verify(self, token: str) -> _Verified | tuple[int, Page]:
        keys, clock = self._links.keys(), self._parts.clock
        wish: Unsubscription | Refused = Refused.FORGED
        if keys is not None:
            today = verp.day_of(clock.now_ms())
            wish = read_token(keys, token, today=today, days_valid=self._links.days_valid)
        if isinstance(wish, Refused):
            self._metrics.refused.add(1, wish.value)
            return (410, Page.EXPIRED) if wish is Refused.EXPIRED else (404, Page.FORGED)
        if not self._parts.clients.ready():
            return 503, Page.LATER
        client = self._parts.clients.get(wish.client)
        # The client no longer exists, so it sends no mail.
        return _Verified(wish, client) if client is not None else (410, Page.EXPIRED)

    def _is_listed(self, found: _Verified) -> bool:
        """Return True if Kafka certainly has the entry already."""
        entry = entry_of(found.wish, 0)
        if entry is None or not self._parts.entries.is_fresh():
            return False
        return self._parts.entries.table.is_listed(entry)

    def _outputs(self, found: _Verified) -> list[Output]:
        """Return the records of an unsubscription: the event, its copy for the client, and the
        entry."""
        now_ms = self._parts.clock.now_ms()
        outputs = event_records(
            SERVICE,
            EventType.UNSUBSCRIBED,
            found.wish.mail_id,
            event_of(found.wish, found.client, now_ms),
            has_client_events=found.client.own_events,
        )
        entry = entry_of(found.wish, now_ms)
        return outputs if entry is None else [*outputs, output_of(entry)]


def _shown(
    request: AnyRequest, status: int, page: Page, found: _Verified | None = None
) -> Response[bytes]:
    """Return the page in the language that the reader prefers."""
    language = language_of(request.headers.get("accept-language", ""))
    recipient = found.wish.recipient if found else ""
    sender = found.client.sending_domain if found else ""
    return Response(
        draw(page, language, recipient, sender),
        status_code=status,
        media_type="text/html",  # the framework adds the charset
        headers={**HEADERS, "Content-Language": language},
    )
