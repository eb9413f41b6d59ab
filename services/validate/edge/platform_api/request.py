"""The common parts of the routes: clients of requests, parameters, error answers, slow tasks.

Slow tasks (a look-up in Kafka, a query to Redis) run in separate threads. Guarantees: the number of
tasks that run or wait is bounded. Slow tasks never use the threads of other routes, and one key
never uses all threads for a kind of task.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import unquote

from litestar import Request
from litestar.exceptions import PermissionDeniedException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from services.validate.core.platform_api.requests import Busy, NotFound, QueryFault
from services.validate.edge.platform_api.entries import EntryFollower
from services.validate.edge.platform_api.writer import KafkaWriter
from shared.access.checking import Denial, Grant, Reason
from shared.http_api.keyed import KeyedApi, require_scope
from shared.http_api.problems import Problem
from shared.mail.comparison import comparable
from shared.registry.client import Client
from shared.registry.lookup import Clients
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable
from shared.store.counters import CounterStore
from shared.stream.transactions import Output
from shared.suppressions.entries import Author
from shared.topics.names import SUPPRESSIONS
from shared.topics.suppressions import PARTITION, SuppressionRecord, encode_suppression

ApiRequest = Request[Any, Grant, Any]

MAX_TEXT: Final = 1_000
# After a change, the answer waits at most this many seconds until this process has read the change
# back.
SEEN_S: Final = 1.0
_LOOK_S: Final = 0.01
_MAX_NAME: Final = 255
ClientName = Annotated[
    str,
    QueryParameter(
        max_length=_MAX_NAME,
        description="The client. Required if the key is for all clients; any other key is for one "
        "client.",
    ),
]
Address = Annotated[
    str, PathParameter(max_length=MAX_TEXT, description="A mail address, percent-encoded.")
]
Note = Annotated[str, QueryParameter(max_length=200, description="The reason, which is stored.")]
_TEXTS: Final = {
    400: "A parameter is invalid.",
    401: "There is no valid key.",
    403: "The key gives no access to this.",
    404: "There is no such client, entry or message.",
    429: "Too many requests.",
    503: "Kafka, Redis or the keys are unavailable, or too many requests run at once.",
}

T = TypeVar("T")


class Parts(Struct, frozen=True):
    """The collaborators of the routes."""

    clients: Clients
    entries: EntryFollower
    writer: KafkaWriter
    counters: CounterStore
    redis: Workers
    clock: Clock

    def client(self, request: ApiRequest, name: str, *, is_shared: bool = False) -> Client:
        """Return the client of a request, within the scope of the key.

        `is_shared` is True if the data belong to the whole client; then a key for one sub-client
        must not use the data. Raises QueryFault, NotFound, Unavailable, PermissionDeniedException.
        """
        scope = request.auth.scope
        named = name or scope.client
        if not named:
            raise QueryFault("client: give the client, because the key gives access to all clients")
        require_scope(request, named)
        if is_shared and scope.sub_client is not None:
            if isinstance(request.app, KeyedApi):
                request.app.deny(Denial(Reason.SCOPE, request.auth.key), request)
            raise PermissionDeniedException(
                detail="suppressions and counters belong to a whole client; the access key gives "
                f"access to {scope.described()} only"
            )
        if not self.clients.ready():
            raise Unavailable("the registered clients have not been read yet")
        found = self.clients.get(named)
        if found is None:
            raise NotFound(f"client: {named!r} is not registered")
        return found

    async def write(self, records: Sequence[SuppressionRecord]) -> None:
        """Write records. Return when Kafka has stored the records and, if possible, this process
        has read them back.

        Raises NotWritten.
        """
        end = 1 + await self.writer.write([output_of(each) for each in records])
        loop = asyncio.get_running_loop()
        until = loop.time() + SEEN_S
        # The follower is another thread and cannot notify this event loop.
        while self.entries.end < end and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    def author(self, request: ApiRequest, note: str) -> Author:
        """Return the author of the change: the id of the key. Raises QueryFault."""
        if not note.isprintable():
            raise QueryFault("note: holds a control character; remove it")
        return Author(f"key {request.auth.key}"[:_MAX_NAME], note, self.clock.now_ms())


class Workers:
    """Threads for one kind of slow task. Only one event loop may call run().

    A caller waits at most `timeout_s`. The thread continues until the task ends; the task has its
    own time limit.
    """

    def __init__(self, name: str, most: int, timeout_s: float) -> None:
        """`most` is the highest number of tasks that run at a time. At most half of this number run
        for one key."""
        self._name = name
        self._most = most
        self._timeout_s = timeout_s
        self._running: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, owner: str, task: Callable[[], T]) -> T:
        """Run a task for this key. Raises Busy, and the errors that the task raises."""
        is_full = self._running.total() >= self._most
        if is_full or self._running[owner] >= max(1, self._most // 2):
            raise Busy(f"too many {self._name} at a time; try again")
        self._running[owner] += 1
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, task)
        running.add_done_callback(lambda _: self._ended(owner))
        try:
            return await asyncio.wait_for(asyncio.shield(running), self._timeout_s)
        except TimeoutError:
            running.add_done_callback(_forget)
            raise Busy(f"{self._name}: no answer in {self._timeout_s:g} s") from None

    def close(self) -> None:
        """Begin no further tasks. Running tasks end at their own time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]


def responses(**more: str) -> dict[int, ResponseSpec]:
    """Return the problem responses that a route may send, for the OpenAPI document."""
    texts = _TEXTS | {int(status.lstrip("_")): text for status, text in more.items()}
    return {
        status: ResponseSpec(Problem, description=text, media_type="application/problem+json")
        for status, text in sorted(texts.items())
    }


def refuse_body(request: ApiRequest) -> None:
    """Raise QueryFault if the request has a body, which would otherwise be ignored silently."""
    length = request.headers.get("content-length", "0")
    if length != "0" or "transfer-encoding" in request.headers:
        raise QueryFault("this request takes no body; `note` is a parameter of the URL: ?note=...")


def recipient_of(text: str, name: str = "address") -> str:
    """Return an address in comparison form. Raises QueryFault."""
    found = comparable(text)
    # The framework decodes invalid UTF-8 to U+FFFD.
    if not found or "\ufffd" in text:
        raise QueryFault(f"{name}: {text[:100]!r} is not one mail address such as anna@example.com")
    return found


def recipient_of_path(encoded: str) -> str:
    """Return the address in a path (app.py), in comparison form. Raises QueryFault."""
    return recipient_of(unquote(encoded, errors="replace"))


def output_of(record: SuppressionRecord) -> Output:
    """Return the output that writes a record to mail.suppressions."""
    key, value = encode_suppression(record)
    return Output(SUPPRESSIONS, value, key, (), PARTITION)


def _forget(running: asyncio.Future[Any]) -> None:
    # Nobody waits for the task any more. The exception of the task is read, so that the event loop
    # does not report the exception.
    if not running.cancelled():
        running.exception()
