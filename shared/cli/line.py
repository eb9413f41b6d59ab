"""The whole line on this machine: Kafka, Redis, the four services and the sink.

Owns: which processes there are, their ports, the environment that ties them together, the
order of start and end. Does not own: how processes are kept (supervisor.py) nor what the
parts are (parts/). State lies in one folder: logs/, kafka/, sink.jsonl.

Promises: `start` returns when every part is ready, or raises PartAwayError with nothing left
running; `stop` drains the services first (SIGTERM, up to 50 s) and leaves no process.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct, field

from shared.cli import places
from shared.cli.doors import Doors
from shared.cli.parts import certificate, kafka_broker, ports, redis_server, services
from shared.cli.parts.away import PartAwayError
from shared.cli.parts.services import SERVICES, SINK, ServicePlan
from shared.cli.process import Process, ProcessSpec
from shared.cli.supervisor import Supervisor
from shared.stream.admin import ensure_topics
from shared.topics import names

# All peers of this line have one address: what limits a single host would limit all of them.
_DOOR_LIMITS: Final = {
    "SLUICE_INGEST__SMTP_MAX_CONNECTIONS_PER_ADDRESS": "4000",
    "SLUICE_INGEST__SMTP_NEW_CONNECTIONS_PER_MINUTE": "0",
    "SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS": "1000",
    "SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS_PER_ADDRESS": "10000",
    "SLUICE_INGEST__SMTP_ERRORS_PER_ADDRESS_PER_MINUTE": "0",
}


def door_limits(environ: Mapping[str, str]) -> dict[str, str]:
    """The limits of the line's front door, but for those that the environment sets."""
    return {name: value for name, value in _DOOR_LIMITS.items() if name not in environ}


def say_on_stderr(text: str) -> None:
    """Tell the person at the terminal."""
    print(f"sluice: {text}", file=sys.stderr, flush=True)


class LineOptions(Struct, frozen=True):
    """What a line consists of and where its state lies."""

    name: str = "main"
    folder: Path | None = None  # default: .sluice/run/<name>
    kafka: str = ""  # host:port of an existing broker; "": an embedded one
    redis: str = ""  # URL of an existing Redis; "": an embedded one
    kafka_properties: dict[str, str] = field(default_factory=dict)  # of the embedded broker
    services: tuple[str, ...] = SERVICES
    sink: bool = True
    sink_behaviour: str = "demo"
    restart: bool = True  # start again what died; tests that kill switch it off
    env: dict[str, str] = field(default_factory=dict)  # for every service
    part_env: dict[str, dict[str, str]] = field(default_factory=dict)  # for one, by name
    say: Callable[[str], None] = say_on_stderr


class Line:
    """A line that can be started, watched, hurt and ended. A context manager: ends on exit."""

    def __init__(self, options: LineOptions) -> None:
        self.options = options
        self.folder = options.folder or places.run_folder(options.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = ("kafka", "controller", "redis", "sink", "billing", "smtp", "smtps")
        port = ports.remembered(wanted, self.folder / "ports.json")
        self._door_ports = tuple(port.values())
        broker = kafka_broker.BrokerPlan(
            self.folder / "kafka", port["kafka"], port["controller"], options.kafka_properties
        )
        self._broker = broker
        self._redis = redis_server.RedisPlan(self.folder / "redis", port["redis"])
        self._sink_address = f"{ports.LOOPBACK}:{port['sink']}"
        self._billing_port = port["billing"]
        self._smtp_address = f"{ports.LOOPBACK}:{port['smtp']}"
        self._smtps_address = f"{ports.LOOPBACK}:{port['smtps']}"
        self._http_ports: dict[str, int] = {}
        self._supervisor = Supervisor(self.folder / "logs", options.restart, options.say)

    # --- what it offers -------------------------------------------------------------------

    @property
    def doors(self) -> Doors:
        """Where each door is."""
        has_billing = "billing" in self.options.services
        has_door = "ingest" in self.options.services
        return Doors(
            kafka=self.options.kafka or self._broker.address,
            redis=self.options.redis or self._redis.url,
            smtp=self._smtp_address if has_door else None,
            smtps=self._smtps_address if has_door else None,
            billing=f"http://{ports.LOOPBACK}:{self._billing_port}" if has_billing else None,
            metrics={
                name: f"http://{ports.LOOPBACK}:{port}/metrics"
                for name, port in self._http_ports.items()
            },
            sink=self._sink_address if self.options.sink else None,
        )

    @property
    def sink_journal(self) -> Path:
        """The sink's journal: one JSON line for each decision."""
        return self.folder / "sink.jsonl"

    @property
    def parts(self) -> list[str]:
        """The names of all processes, in the order of their start."""
        return self._supervisor.names()

    def pids(self) -> dict[str, int]:
        """The process id of each part that runs."""
        processes = {name: self.process(name) for name in self.parts}
        return {name: process.pid for name, process in processes.items() if process.runs}

    def process(self, name: str) -> Process:
        """The process of a part as it runs, or ran last; KeyError when there never was one."""
        return self._supervisor.process(name)

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self._supervisor.log(name)

    def restarts(self, name: str) -> int:
        """How often a part was started again after dying."""
        return self._supervisor.restarts(name)

    def is_ready(self, name: str) -> bool:
        """Whether a part runs and says it is ready."""
        return self.process(name).runs and self._supervisor.spec(name).is_ready()

    # --- start and end --------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until it is ready; PartAwayError when a part is not."""
        try:
            self._supervisor.start(self._foundations())
            if not self.options.kafka:
                # On a broker of somebody else's the services create what they need, with the
                # replication their settings name.
                ensure_topics(self.doors.kafka, names.plans(("default",)))
            self._supervisor.start([self._service(name) for name in self.options.services])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Drain and end the services, then the sink, then Redis, then Kafka."""
        known = self._supervisor.names()
        own = [name for name in known if name.partition("-")[0] in SERVICES]
        self._supervisor.stop((own, (SINK,), ("redis",), ("kafka",)))

    def __enter__(self) -> Line:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def forget_data(self) -> None:
        """Remove what only a running line needs: the broker's data. Logs and journal stay."""
        for folder in ("kafka", "redis"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    # --- single parts, for tests ----------------------------------------------------------

    def kill(self, name: str, number: int) -> None:
        """Send a signal to a part; what dies is started again unless options.restart is off."""
        self.process(name).signal(number)

    def hold(self, name: str) -> None:
        """Leave a part down when it ends next, until start_part."""
        self._supervisor.hold(name)

    def stop_part(self, name: str) -> bool:
        """End a part gracefully and leave it down; whether it drained within its time."""
        return self._supervisor.stop_one(name)

    def start_part(self, name: str, extra_env: Mapping[str, str] | None = None) -> None:
        """Start a part that is down, or a further process of a service (`deliver-2`).

        Returns at once (wait_ready waits). The extra environment holds for this start and
        for restarts of it, until the next start_part.
        """
        spec = self._spec(name)
        self._supervisor.spawn(spec.with_extra_env(dict(extra_env or {})))

    def wait_ready(self, name: str) -> None:
        """Wait until a part is ready; PartAwayError when it ends or takes too long."""
        self._supervisor.wait_ready(name)

    # --- what the parts are ---------------------------------------------------------------

    def _spec(self, name: str) -> ProcessSpec:
        if name.partition("-")[0] in SERVICES:
            return self._service(name)
        return self._supervisor.spec(name)

    def _foundations(self) -> list[ProcessSpec]:
        specs = []
        if not self.options.kafka:
            specs.append(kafka_broker.prepare(self._broker))
        elif not kafka_broker.serves(self.options.kafka):
            raise PartAwayError(f"no Kafka broker answers at {self.options.kafka}")
        if not self.options.redis:
            specs.append(redis_server.prepare(self._redis))
        elif not redis_server.answers_ping(*_host_and_port(self.options.redis)):
            raise PartAwayError(f"no Redis answers at {self.options.redis}")
        if self.options.sink:
            behaviour = self.options.sink_behaviour
            specs.append(services.sink_process(self._sink_address, self.folder, behaviour))
        return specs

    def _service(self, name: str) -> ProcessSpec:
        if name not in self._http_ports:
            taken = (*self._door_ports, *self._http_ports.values())
            (self._http_ports[name],) = ports.free_ports(1, taken)
        env = {**self._service_env(), **self.options.env, **self.options.part_env.get(name, {})}
        # A further process of ingest reads the intakes only; one of billing answers on any port.
        if name == "ingest":
            env = {**self._front_door_env(), **env}
        if name == "billing":
            env = {"SLUICE_BILLING__HTTP_PORT": str(self._billing_port), **env}
        return services.service_process(ServicePlan(name, self._http_ports[name], env))

    def _service_env(self) -> dict[str, str]:
        made = {
            "SLUICE_KAFKA__BOOTSTRAP": self.doors.kafka,
            # The names of parts last: one that is started again takes its partitions over.
            "SLUICE_KAFKA__STATIC_MEMBERSHIP": "true",
            "SLUICE_REDIS__URL": self.doors.redis,
        }
        if self.options.sink:
            made["SLUICE_DELIVER__ROUTES"] = json.dumps({"*": self._sink_address})
        return made

    def _front_door_env(self) -> dict[str, str]:
        files = certificate.make_certificate(self.folder)
        return {
            "SLUICE_INGEST__SMTP_LISTEN": json.dumps([self._smtp_address]),
            "SLUICE_INGEST__SMTPS_LISTEN": json.dumps([self._smtps_address]),
            **door_limits(os.environ),
            "SLUICE_INGEST__SMTP_HOST_NAME": certificate.HOST,
            "SLUICE_INGEST__TLS_CERTIFICATE_FILE": str(files.certificate),
            "SLUICE_INGEST__TLS_KEY_FILE": str(files.key),
        }


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or ports.LOOPBACK, parts.port or 6379
