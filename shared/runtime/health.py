"""Serves /live, /ready and /metrics over HTTP to the supervisor of a process.

The server has its own threads, so that it answers while the worker is busy or blocked. /live
answers 503 when a live check returns a reason to restart the process. /ready answers 503 while a
ready check returns a reason, and before the first check is added. In both cases the process runs,
but cannot serve. Both responses contain the result of every check as JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from shared.runtime.errors import UsageError
from shared.runtime.tcp import in_url, listen
from shared.runtime.telemetry import CONTENT_TYPE, Counters, Metric
from shared.settings.sections import TelemetrySettings

log = logging.getLogger(__name__)

READY: Final = Metric("sluice_ready", "1 while /ready answers 200, otherwise 0.")

# A client that sends nothing for this long is disconnected.
_IDLE_TIMEOUT_S: Final = 10.0

# A check returns "" if its part is healthy, otherwise the reason why it is not. The server calls
# checks in its own threads, so they must be fast.
Check = Callable[[], str]


def judge(checks: Mapping[str, Check]) -> tuple[bool, dict[str, str]]:
    """Return whether every check is healthy, and the result of each check ("ok" or the reason)."""
    answers = {}
    for name, check in list(checks.items()):
        try:
            answers[name] = check() or "ok"
        except Exception as error:
            # A check that raises an exception is reported as a fault.
            answers[name] = f"{type(error).__name__}: {error}"
    return all(answer == "ok" for answer in answers.values()), answers


class HealthServer:
    """Serves /live, /ready and /metrics from its construction until close()."""

    def __init__(self, settings: TelemetrySettings, counters: Counters) -> None:
        self._counters = counters
        self._ready: dict[str, Check] = {}
        self._live: dict[str, Check] = {}
        self._notes: dict[str, Check] = {}
        try:
            self._server = _Server(settings.http_host, settings.http_port, _handler(self))
        except OSError as error:
            where = f"{in_url(settings.http_host)}:{settings.http_port}"
            raise UsageError(f"telemetry.http_port: cannot listen on {where}: {error}") from None
        self.host = settings.http_host
        self.port = int(self._server.server_address[1])
        counters.watch(READY, lambda: float(self._readiness()[0]))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="health", daemon=True
        )
        self._thread.start()

    def add_ready(self, name: str, check: Check) -> None:
        """Add a check to /ready; the check returns "" when healthy, otherwise the reason."""
        self._ready[name] = check

    def add_live(self, name: str, check: Check) -> None:
        """Add a check to /live; the check returns "" or the reason to restart the process."""
        self._live[name] = check

    def add_note(self, name: str, note: Check) -> None:
        """Show a note on /ready as information; a note never makes the process unready."""
        self._notes[name] = note

    def respond(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return the status, content type and body of the response to GET `path`."""
        match path.partition("?")[0]:
            case "/live":
                return self._verdict("live", *judge(self._live))
            case "/ready":
                return self._verdict("ready", *self._readiness())
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE, self._counters.text()
            case _:
                body = b"there are /live, /ready and /metrics\n"
                return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", body

    def _readiness(self) -> tuple[bool, dict[str, str]]:
        # A service that has added no check yet is still starting.
        return judge(self._ready or {"start": lambda: "starting"})

    def _verdict(
        self, word: str, is_well: bool, answers: Mapping[str, str]
    ) -> tuple[HTTPStatus, str, bytes]:
        shown: dict[str, Any] = {word: is_well, "checks": answers}
        if word == "ready" and self._notes:
            shown["notes"] = judge(self._notes)[1]
        body = json.dumps(shown, ensure_ascii=False).encode() + b"\n"
        status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", body

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((host, port), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listen(host, port)
        self.server_address = self.socket.getsockname()[:2]


def _handler(server: HealthServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _IDLE_TIMEOUT_S

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client did not wait for the response
                super().handle()

        def do_GET(self) -> None:
            status, kind, body = server.respond(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    return Handler
