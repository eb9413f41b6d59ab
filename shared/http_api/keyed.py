"""Defines an application that answers only requests with an access key, at a limited rate.

Every request is checked before it is routed, so a request without a key is denied even if its path
does not exist. Only public paths need no key. The public paths are the health check and files
without data (`public`), and pages whose address contains a signed token (`public_folders`).
`request.auth` contains the grant of a request. A route declares the right that it needs with
`guards=[requires(Right...)]`. Denied uses are written to the audit log of the keys.

Each process limits the rate with one token bucket per key or per peer. A bucket holds the tokens
for one minute and refills evenly. The number of buckets is bounded: when there are too many, the
least recently used bucket is dropped.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.types import ControllerRouterHandler, ExceptionHandlersMap, Guard
from litestar.types import Scope as AsgiScope
from msgspec import Struct

from shared.access.checking import ANONYMOUS, SENTENCES, Denial, Grant, Reason
from shared.access.keys import Right
from shared.http_api.problems import fail, known_parameters, refuse, send_problem
from shared.runtime.clock import Clock

# With this number of buckets, the least recently used bucket is full or nearly full when it is
# dropped.
MAX_BUCKETS: Final = 10_000
REALM: Final = {"WWW-Authenticate": 'Bearer realm="sluice"'}
# The number of denied requests per minute and address that are answered with 401 and get an entry
# in the audit log. Further denied requests are answered with 429 and get no entry.
DENIED_PER_MINUTE: Final = 60


class RateLimiter:
    """Limits rates with one token bucket per name.

    If `per_minute` is 0, there is no limit. Only one thread may use a RateLimiter.
    """

    def __init__(self, per_minute: int, most: int = MAX_BUCKETS) -> None:
        self._per_minute = per_minute
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at

    def try_acquire(self, name: str, now: float) -> int:
        """Take a token and return 0; if none is left, return the seconds until the next token."""
        wait_s = self.wait_for(name, now)
        if self._per_minute:
            tokens = self._tokens(name, now)
            self._buckets.pop(name, None)
            self._buckets[name] = (tokens if wait_s else tokens - 1, now)
            while len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        return wait_s

    def wait_for(self, name: str, now: float) -> int:
        """Return the seconds until the next token, or 0 if a token is left. Take no token."""
        if not self._per_minute or (tokens := self._tokens(name, now)) >= 1:
            return 0
        return math.ceil((1 - tokens) * 60 / self._per_minute)

    def _tokens(self, name: str, now: float) -> float:
        full = float(self._per_minute)
        tokens, at = self._buckets.get(name, (full, now))
        return min(full, tokens + max(0.0, now - at) * self._per_minute / 60)


class Keys(Protocol):
    """The interface that checks access keys. In production, a KeyView implements it."""

    def check(self, header: str | None) -> Grant | Denial:
        """Return the grant for an Authorization header, or the denial."""
        ...

    def fault(self) -> str:
        """Return the reason why no key can be checked now, or "" if keys can be checked."""
        ...

    def deny(self, denial: Denial, peer: str) -> None:
        """Write a denied use of a key to the audit log."""
        ...


class AccessPolicy(Struct, frozen=True):
    """Decides which requests are allowed, and at which rate.

    Paths in `public` need no key. Paths that begin with one of `public_folders` need no key either;
    each of these prefixes ends with a slash.
    """

    keys: Keys
    clock: Clock
    per_minute: int = 600
    is_open: bool = False  # True if a request without a key has all rights.
    public: frozenset[str] = frozenset({"/health"})
    public_folders: tuple[str, ...] = ()

    def is_public(self, path: str) -> bool:
        """Return True if requests for this path need no key."""
        return path in self.public or path.startswith(self.public_folders)


class Refused(Struct, frozen=True):
    """The response to a request that is refused."""

    status: int
    detail: str
    headers: Mapping[str, str] = {}


class KeyedApi(Litestar):
    """A Litestar application that answers only requests with an access key."""

    def __init__(
        self,
        handlers: Collection[ControllerRouterHandler],
        policy: AccessPolicy,
        exception_handlers: ExceptionHandlersMap | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            list(handlers),
            exception_handlers={
                HTTPException: refuse,
                Exception: fail,
                **(exception_handlers or {}),
            },
            guards=[known_parameters],
            logging_config=None,
            **more,
        )
        self.policy = policy
        self._rates = RateLimiter(policy.per_minute)
        self._denied = RateLimiter(DENIED_PER_MINUTE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # RFC 9110, 9.3.2: HEAD is GET without the content, so routes are declared for GET only.
            scope, send = {**scope, "method": "GET"}, _without_content(send)
        send = _with_head_allowed(send)
        if scope["type"] != "http" or self.policy.is_public(scope["path"]):
            await super().__call__(scope, receive, send)
            return
        judged = self._judge(scope)
        if isinstance(judged, Refused):
            await send_problem(scope, send, judged.status, judged.detail, judged.headers)
            return
        scope["auth"] = scope["user"] = judged
        await super().__call__(scope, receive, send)

    def deny(self, denial: Denial, connection: Any) -> None:
        """Write to the audit log that a route has denied a use of a key."""
        self.policy.keys.deny(denial, peer_of(connection.scope))

    def _judge(self, scope: AsgiScope) -> Grant | Refused:
        header, peer = _authorization(scope), peer_of(scope)
        now = self.policy.clock.monotonic()
        if header is None and self.policy.is_open:
            return ANONYMOUS
        if header is not None and (fault := self.policy.keys.fault()):
            return Refused(503, f"access keys cannot be checked: {fault}", {"Retry-After": "5"})
        found = self.policy.keys.check(header)
        if isinstance(found, Denial):
            # The limit by peer applies only to denied requests, because behind a proxy all peers
            # have the same address.
            if wait_s := self._denied.try_acquire(peer, now):
                return _too_often(wait_s)
            self.policy.keys.deny(found, peer)
            return Refused(401, SENTENCES[found.reason], REALM)
        if wait_s := self._rates.try_acquire(found.key, now):
            self.policy.keys.deny(Denial(Reason.RATE, found.key), peer)
            return _too_often(wait_s)
        return found


def requires(right: Right) -> Guard:
    """Return a guard for a route; the guard denies keys without this right."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not connection.auth.may(right):
            denial = Denial(Reason.RIGHT, connection.auth.key)
            if isinstance(connection.app, KeyedApi):
                connection.app.deny(denial, connection)
            raise PermissionDeniedException(detail=f"the access key has no right {right.value}")

    return guard


def require_scope(
    request: Request[Any, Grant, Any], client: str, sub_client: str | None = None
) -> None:
    """Deny the request if the scope of its key does not cover this client and sub-client."""
    scope = request.auth.scope
    is_client = scope.client in ("", client)
    is_sub = scope.sub_client is None or sub_client in (None, scope.sub_client)
    if is_client and is_sub:
        return
    if isinstance(request.app, KeyedApi):
        request.app.deny(Denial(Reason.SCOPE, request.auth.key), request)
    raise PermissionDeniedException(
        detail=f"the access key gives access to {scope.described()} only"
    )


def peer_of(scope: Any) -> str:
    """Return the address of the peer, or "" if it is not known."""
    peer = scope.get("client")
    return str(peer[0]) if peer else ""


def _authorization(scope: AsgiScope) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    # A request with two Authorization headers has no valid key.
    return " , ".join(value.decode("latin-1") for value in found) if found else None


def _too_often(wait_s: int) -> Refused:
    return Refused(429, f"too many requests; try again in {wait_s} s", {"Retry-After": str(wait_s)})


def _with_head_allowed(send: Any) -> Any:
    """Add HEAD to the header `Allow` if the header contains GET."""

    async def completed(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name, _allowed(value) if name.lower() == b"allow" else value)
                for name, value in message["headers"]
            ]
            message = {**message, "headers": headers}
        await send(message)

    return completed


def _allowed(methods: bytes) -> bytes:
    found = {each.strip() for each in methods.split(b",")}
    return b", ".join(sorted(found | ({b"HEAD"} if b"GET" in found else set())))


def _without_content(send: Any) -> Any:
    """Send the status and headers of a response, but not its content."""

    async def headers_only(message: Any) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headers_only
