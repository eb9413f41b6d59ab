"""The HTTP API of billing: usage as JSON or CSV, errors as RFC 9457 problems.

Serves from threads of its own beside the counting loop. There are no access keys yet: the server
listens on loopback unless configured otherwise, and everyone who can reach it can read the usage
of every client.
"""

from __future__ import annotations

import socket
import threading
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
import uvicorn
from litestar import Litestar, MediaType, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.params import QueryParameter

from services.billing.core.answer import Usage
from services.billing.core.month import is_month
from services.billing.core.table import as_csv
from services.billing.edge.usage_view import MAX_WAIT_S, UsageView
from shared.runtime.errors import UsageError
from shared.store.client import StoreUnavailable

_CSV: Final = "text/csv"
_PROBLEM: Final = "application/problem+json"
_STOP_TIMEOUT_S: Final = 5.0

Month = Annotated[str, QueryParameter()]
Client = Annotated[str, QueryParameter()]
WaitS = Annotated[float, QueryParameter(ge=0, le=MAX_WAIT_S)]


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


def problem(status: int, detail: str) -> Response[bytes]:
    """An error response."""
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(Problem("about:blank", title, status, detail))
    return Response(body, status_code=status, media_type=_PROBLEM)


def _usage_response(usage: Usage, as_table: bool) -> Response[bytes]:
    headers = {"Sluice-Complete": "true" if usage.complete else "false", "Vary": "Accept"}
    if as_table:
        body = as_csv(usage.month, usage.rows).encode()
        return Response(body, media_type=_CSV, headers=headers)
    return Response(msgspec.json.encode(usage), media_type=MediaType.JSON, headers=headers)


def make_app(view: UsageView) -> Litestar:
    """Create the application for one view."""

    def answer(month: str, client: str, wait_s: float, as_table: bool) -> Response[bytes]:
        if not is_month(month):
            return problem(400, f"month: found {month!r}, expected YYYY-MM")
        try:
            return _usage_response(view.read(month, client, wait_s), as_table)
        except StoreUnavailable as error:
            return problem(503, str(error))

    @get("/v1/usage", sync_to_thread=True)
    def usage(
        request: Request[Any, Any, Any],
        month: Month,
        client: Client = "",
        wait_s: WaitS = 0.0,
    ) -> Response[bytes]:
        wanted = request.headers.get("accept", "")
        return answer(month, client, wait_s, wanted.split(",")[0].strip().startswith(_CSV))

    @get("/v1/usage.csv", sync_to_thread=True)
    def usage_csv(month: Month, client: Client = "", wait_s: WaitS = 0.0) -> Response[bytes]:
        return answer(month, client, wait_s, as_table=True)

    return Litestar(
        [usage, usage_csv],
        exception_handlers={HTTPException: _refuse, Exception: _fail},
        openapi_config=None,
        logging_config=None,
    )


def _refuse(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    found = error.extra if isinstance(error.extra, list) else []
    faults = [f"{each.get('key')}: {each.get('message')}" for each in found]
    return problem(error.status_code, "; ".join(faults) or error.detail)


def _fail(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return problem(500, type(error).__name__)


class ApiServer:
    """Serves an application in a thread, from construction until close()."""

    def __init__(self, app: Litestar, host: str, port: int) -> None:
        """Raises UsageError if it cannot listen on the address."""
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise UsageError(
                f"billing.http_port: cannot listen on {host}:{port}: {error}"
            ) from None
        self.host = host
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
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
