"""Specifies the processes of the four services and of the sink, which run as `python -m ...`.

Owns: the command lines, the readiness check, and the environment that configures these processes.
The environment consists only of SLUICE_<SECTION>__<KEY> variables. This module does not depend on
the internals of services.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.stack.paths import API, RESPONSES, base_environment, module_of
from local.parts import ports
from local.process import ProcessSpec

SINK: Final = "sink"
# The limit is long, because a busy machine needs minutes for several starts.
READY_TIMEOUT_S: Final = 240.0
# On SIGTERM, a service drains: it finishes transactions and open SMTP dialogs. After 50 s
# (runtime.drain_timeout_s and a grace period), it ends even if it has not finished.
DRAIN_TIMEOUT_S: Final = 52.0
SINK_STOP_TIMEOUT_S: Final = 5.0
_ASK_TIMEOUT_S: Final = 2.0
# The commands of processes that run only a part of a service. All other processes use the command
# `serve`.
_VERBS: Final = {API: "api", RESPONSES: "responses"}
_GREETING: Final = b"220"


class ServicePlan(Struct, frozen=True):
    """The plan of one process of a service. `name` is `<service>` for the first process, and
    `<service>-<n>` for a further process."""

    name: str
    http_port: int
    env: dict[str, str]
    http_host: str = ports.LOOPBACK
    is_named: bool = False  # True if the user has set the instance name.

    @property
    def service(self) -> str:
        """Return the service that this process belongs to."""
        return self.name.partition("-")[0]

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables that the process gets in addition to the current environment."""
        name = {} if self.is_named else {"SLUICE_RUNTIME__INSTANCE": self.name}
        port = {"SLUICE_TELEMETRY__HTTP_PORT": str(self.http_port)}
        return {**base_environment(), **self.env, **name, **port}

    @property
    def module(self) -> str:
        """Return the module that `python -m` runs."""
        return self.command[1]

    @property
    def command(self) -> tuple[str, str, str]:
        """Return the arguments of `python`."""
        return ("-m", module_of(self.service), _VERBS.get(self.service, "serve"))


def get_json(port: int, path: str, host: str = ports.LOOPBACK, key: str = "") -> tuple[int, object]:
    """Send a GET request with the access key `key` to a local port. Return the status and the
    document.

    The status is 0 if nothing answers. The document is None if the body is not JSON.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection = http.client.HTTPConnection(host, port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        status = response.status
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None


def is_ready(http_port: int, host: str = ports.LOOPBACK) -> bool:
    """Return True if the service at this port reports that it is ready."""
    return get_json(http_port, "/ready", host)[0] == 200


def greets(address: str) -> bool:
    """Return True if an SMTP server at host:port sends its greeting."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ASK_TIMEOUT_S) as connection:
            connection.settimeout(_ASK_TIMEOUT_S)
            with connection.makefile("rb") as replies:
                return replies.read(len(_GREETING)) == _GREETING
    except (OSError, ValueError):
        return False


def service_process(plan: ServicePlan) -> ProcessSpec:
    """Return the specification of one process of a service."""
    return ProcessSpec(
        name=plan.name,
        command=(sys.executable, *plan.command),
        is_ready=lambda: is_ready(plan.http_port, plan.http_host),
        ready_timeout_s=READY_TIMEOUT_S,
        stop_timeout_s=DRAIN_TIMEOUT_S,
        env=plan.variables,
    )


def sink_process(
    address: str, folder: Path, behaviour: str, returns_to: str | None = None
) -> ProcessSpec:
    """Return the specification of the sink, which plays the recipients' mail servers.

    `returns_to` is the bounce door to which the sink sends reports. If it is None, the sink sends
    no reports.
    """
    journal, state = folder / "sink.jsonl", folder / "sink.json"
    command = (sys.executable, "-m", "local.sink", "--listen", address)
    files = ("--journal", str(journal), "--state", str(state), "--behaviour", behaviour)
    returns = ("--returns-to", returns_to) if returns_to else ()
    return ProcessSpec(
        name=SINK,
        command=command + files + returns,
        is_ready=lambda: greets(address),
        ready_timeout_s=READY_TIMEOUT_S,
        stop_timeout_s=SINK_STOP_TIMEOUT_S,
        env=base_environment(),
    )
