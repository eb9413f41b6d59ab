"""Show which parts of a pipeline run, and where. The exit code is 3 if a part is not ready."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
from msgspec import Struct, structs

from cli.answer import Exit, fail, print_json
from cli.stack import paths, state
from cli.stack.state import Ended, Endpoints, NotRunning, State, described, environment_of
from local.outside import Servers, servers
from local.parts import kafka_broker, kafka_cluster, redis_server, services
from shared.plurals import counted
from shared.runtime.commands import run_command
from shared.runtime.errors import Unavailable
from shared.settings.loader import SettingsError, load

_MARKS: Final = {True: "ready", False: "NOT READY"}


class Status(Struct, frozen=True):
    """The document of `status --json`: the endpoints as `up` prints them, and the ready parts."""

    state: str
    running: bool
    pid: int | None
    ready: dict[str, bool]
    kafka: str | None = None
    kafka_copies: int | None = None
    redis: str | None = None
    smtp: str | None = None
    smtps: str | None = None
    bounce: str | None = None
    billing: str | None = None
    api: str | None = None
    metrics: dict[str, str] = {}
    sink: str | None = None
    ended: dict[str, Ended] = {}
    ca_file: str | None = None


def readiness(endpoints: Endpoints, used: Servers) -> dict[str, bool]:
    """Return, for each part, True if the part is ready."""
    found = {**_brokers(endpoints, used), "redis": redis_server.answers_url(used.redis)}
    if endpoints.sink:
        found["sink"] = services.greets(endpoints.sink)
    for name, url in endpoints.metrics.items():
        parts = urlsplit(url)
        found[name] = services.is_ready(parts.port or 0, parts.hostname or "")
    return found


def _brokers(endpoints: Endpoints, used: Servers) -> dict[str, bool]:
    """Check each embedded broker if there are several. An external Kafka is treated as one part."""
    if endpoints.kafka_copies == 1:
        return {"kafka": kafka_broker.serves(used.kafka)}
    addresses = endpoints.kafka.split(",")
    names = kafka_cluster.node_names(len(addresses))
    return {
        name: kafka_broker.serves(structs.replace(used.kafka, bootstrap=address))
        for name, address in zip(names, addresses, strict=True)
    }


def _servers_of(name: str, endpoints: Endpoints) -> Servers:
    """Return the settings with which a service of the pipeline reaches Kafka and Redis."""
    try:
        return load(Servers, next(iter(environment_of(name).values()))).settings
    except (Unavailable, SettingsError):
        return servers(endpoints.kafka, endpoints.redis)


def status_of(found: State) -> Status:
    """Return the status of a running pipeline."""
    endpoints = found.endpoints
    if endpoints is None:
        return Status(state=found.name, running=True, pid=found.pid, ready={})
    return Status(
        state=found.name,
        running=True,
        pid=found.pid,
        ready=readiness(endpoints, _servers_of(found.name, endpoints)),
        kafka=endpoints.kafka,
        redis=endpoints.redis,
        smtp=endpoints.smtp,
        smtps=endpoints.smtps,
        bounce=endpoints.bounce,
        billing=endpoints.billing,
        api=endpoints.api,
        metrics=endpoints.metrics,
        sink=endpoints.sink,
        ended=found.ended,
        kafka_copies=endpoints.kafka_copies,
        ca_file=endpoints.ca_file,
    )


def part_lines(status: Status, logs: Path) -> list[str]:
    """Return a line per part. If a part is not ready, its line also shows how often the part ended,
    and its log file."""
    lines = []
    for part, ready in status.ready.items():
        ended, log = status.ended.get(part), logs / f"{part}.log"
        times = f", ended {counted(ended.times, 'time')}, {_exit_of(ended)}" if ended else ""
        where = f", log: {log}" if log.exists() else ""  # Only parts on this machine have a log.
        lines.append(f"  {part:<9} {_MARKS[ready]}{'' if ready else times + where}")
    return lines


def _exit_of(ended: Ended) -> str:
    code = ended.exit_code or 0
    return f"last by signal {-code}" if code < 0 else f"last with exit code {code}"


@click.command("status", help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--state", "name", default="main", show_default=True, help="Name of the pipeline.")
def main(name: str, *, as_json: bool) -> None:
    """Show the state of a pipeline."""
    if not state.is_name(name):
        fail(f"--state: {name!r} cannot be the name of a folder", Exit.USAGE_ERROR, as_json)
    found = state.running(name)
    if found is None:
        if as_json:
            print_json(Status(state=name, running=False, pid=None, ready={}))
        else:
            print(str(NotRunning(name)))
        sys.exit(Exit.PART_UNAVAILABLE)
    status = status_of(found)
    if as_json:
        print_json(status)
    elif found.endpoints is None:
        print(f"the pipeline {name!r} is starting (process {found.pid})")
    else:
        print(
            f"the pipeline {name!r} runs (process {found.pid}):",
            *described(found.endpoints),
            sep="\n",
        )
        print(*part_lines(status, paths.run_folder(name) / "logs"), sep="\n")
    well = bool(status.ready) and all(status.ready.values())
    sys.exit(Exit.OK if well else Exit.PART_UNAVAILABLE)


if __name__ == "__main__":
    run_command(main, "status")
