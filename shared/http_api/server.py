"""Runs an HTTP application in a separate thread, beside the event loop of a service.

The threads of a process take turns in the interpreter. A request needs about twelve turns: for the
loop, for the thread of the route, and for each answer of a store. If another thread computes at the
same time, each turn waits for the switch interval. Therefore a process with an API has a short
switch interval, SWITCH_S.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any, Final

import uvicorn
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.http_api.problems import send_problem
from shared.runtime.errors import UsageError
from shared.runtime.reloaded_files import Certificates
from shared.runtime.tcp import in_url, listen

_STOP_TIMEOUT_S: Final = 5.0
# The highest number of simultaneous connections. Further connections are answered with 503.
MAX_CONNECTIONS: Final = 200
KEEP_ALIVE_S: Final = 15
# A request must arrive within this time. Without this limit, uvicorn would wait forever.
REQUEST_S: Final = 15.0
# The switch interval of the interpreter; Python's default is 5 ms.
SWITCH_S: Final = 0.0005


class _Protocol(H11Protocol):
    """Closes a connection that has waited REQUEST_S for the next request."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(REQUEST_S, self._give_up)

    def _give_up(self) -> None:
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()


class _OneLength:
    """Refuses requests with both Content-Length and Transfer-Encoding (RFC 9112, 6.1).

    A proxy may use the other header to find the end of the body. Then a part of the body would be
    read as a further request of somebody else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope["headers"]} if scope["type"] == ScopeType.HTTP else ()
        if b"transfer-encoding" in names and b"content-length" in names:
            detail = "the request has both Content-Length and Transfer-Encoding; send one of them"
            await send_problem(scope, send, 400, detail, {"Connection": "close"})
        else:
            await self._app(scope, receive, send)


class ApiServer:
    """Serves an application in a thread, from construction until close()."""

    def __init__(
        self, app: Litestar, host: str, port: int, setting: str, tls: Certificates | None = None
    ) -> None:
        """Start the server. Raise UsageError about `setting` if the port cannot be used."""
        sys.setswitchinterval(min(SWITCH_S, sys.getswitchinterval()))
        try:
            self._socket = listen(host, port)
        except OSError as error:
            raise UsageError(
                f"{setting}: cannot listen on {in_url(host)}:{port}: {error}"
            ) from None
        self.host = host
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            _OneLength(app),
            http=_Protocol,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            # The peer's address is taken from the connection, because a header can be forged.
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=2,
        )
        config.load()
        if tls is not None:
            tls.serve_on(tls.context)
            config.ssl = tls.context
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="api", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Finish the responses in progress and stop."""
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT_S)
        self._socket.close()
