"""/v1/messages: the outcome of messages, from their events.

A look-up reads mail.events from a given time to the end, in its own thread. The cost of a look-up
grows with the number of events after that time. The duration and the number of look-ups are
bounded, so that look-ups do not delay other routes. A look-up that ended early sets `is_complete`
to False.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any, Final

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from services.validate.core.platform_api.requests import Busy, NotFound, QueryFault
from services.validate.edge.platform_api.request import (
    MAX_TEXT,
    ApiRequest,
    ClientName,
    Parts,
    Workers,
    responses,
)
from shared.access.keys import Right, Scope
from shared.events.log import Reading, Sieve, Span
from shared.events.stories import (
    Choose,
    NamedBy,
    Read,
    Story,
    Wanted,
    find_events,
    since_of,
    stories,
)
from shared.http_api.keyed import requires
from shared.runtime.clock import Deadline
from shared.settings.sections import KafkaSettings

HOUR_MS: Final = 3_600_000
DEFAULT_HOURS: Final = 24
MAX_HOURS: Final = 24 * 400
# The highest number of messages in one answer. If more are found, the oldest are left out.
MAX_SHOWN: Final = 100
# The highest number of events that each of the two passes keeps. The number is limited, because an
# address may have very many events.
MAX_EVENTS: Final = 20_000
_MailId = Annotated[str, PathParameter(max_length=MAX_TEXT, description="The mail id.")]
_Text = Annotated[str, QueryParameter(max_length=MAX_TEXT)]
_Hours = Annotated[
    float,
    QueryParameter(
        gt=0,
        le=MAX_HOURS,
        description="How many hours to look back. A long period takes long to search.",
    ),
]


class Found(Struct, frozen=True):
    """The messages. If `is_complete` is False, the time limit was reached or there are more
    messages."""

    is_complete: bool
    messages: list[Story]


class Lookup:
    """Reads mail.events for one request, within a time limit."""

    def __init__(self, kafka: KafkaSettings, timeout_s: float) -> None:
        self._kafka = kafka
        self._timeout_s = timeout_s

    def find(self, wanted: Wanted, since_ms: int, client: str, scope: Scope) -> Found:
        """Return the wanted messages of a client. Raises PartUnavailable."""
        deadline = Deadline(self._timeout_s)

        def read(from_ms: int, sieve: Sieve, choose: Choose) -> Read:
            span = Span(from_ms, deadline.at_most(self._timeout_s))
            reading = Reading(self._kafka, span, sieve, lambda _, __: None)
            chosen = filter(choose, reading.events())
            events = list(islice(chosen, MAX_EVENTS))
            are_all = next(chosen, None) is None
            return Read(events, are_all and reading.is_complete)

        looked = find_events(wanted, since_ms, client, read)
        found = [each for each in stories(looked.events) if scope.covers(client, each.sub_client)]
        is_whole = looked.is_complete and len(found) <= MAX_SHOWN
        return Found(is_whole, found[-MAX_SHOWN:])


class MessageRoutes:
    """Makes the routes."""

    def __init__(
        self,
        parts: Parts,
        workers: Workers,
        find: Callable[[Wanted, int, str, Scope], Found],
    ) -> None:
        """`find` is Lookup.find; it runs in `workers`."""
        self._parts = parts
        self._workers = workers
        self._find = find

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        common: dict[str, Any] = {
            "guards": [requires(Right.MESSAGES_READ)],
            "tags": ["messages"],
            "responses": responses(),
        }

        @get("/v1/messages/{mail_id:str}", summary="What became of a message", **common)
        async def message(request: ApiRequest, mail_id: _MailId, client: ClientName = "") -> Story:
            wanted = Wanted(mail_id, NamedBy.MAIL_ID)
            if not wanted.mail_id:
                raise QueryFault("mail_id: this is not a mail id, which has 26 letters and digits")
            found = await self._found(request, wanted, since_of(wanted.mail_id), client)
            if found.messages:
                return found.messages[0]
            if not found.is_complete:
                raise Busy("mail_id: not all events could be read in time; try again")
            raise NotFound(f"mail_id: no event of {wanted.mail_id} was found")

        @get("/v1/messages", summary="Messages by id, Message-ID or recipient", **common)
        async def messages(
            request: ApiRequest,
            id_: Annotated[
                str,
                QueryParameter(
                    name="id", max_length=MAX_TEXT, description="The submission's own id (ce_id)."
                ),
            ] = "",
            message_id: _Text = "",
            recipient: _Text = "",
            hours: _Hours = DEFAULT_HOURS,
            client: ClientName = "",
        ) -> Found:
            since_ms = max(0, self._parts.clock.now_ms() - int(hours * HOUR_MS))
            wanted = _wanted(id_, message_id, recipient)
            return await self._found(request, wanted, since_ms, client)

        return [message, messages]

    async def _found(
        self, request: ApiRequest, wanted: Wanted, since_ms: int, client: str
    ) -> Found:
        name, scope = self._parts.client(request, client).name, request.auth.scope
        key = request.auth.key
        return await self._workers.run(key, lambda: self._find(wanted, since_ms, name, scope))


def _wanted(submission: str, message_id: str, recipient: str) -> Wanted:
    """Return the id or address for which the request searches. Raises QueryFault unless the request
    has exactly one of these values."""
    given = {
        NamedBy.SUBMISSION: submission,
        NamedBy.MESSAGE_ID: message_id,
        NamedBy.RECIPIENT: recipient,
    }
    named = [(kind, text) for kind, text in given.items() if text]
    if len(named) != 1:
        raise QueryFault("give one of id, message_id and recipient")
    ((kind, text),) = named
    return Wanted(text, kind)
