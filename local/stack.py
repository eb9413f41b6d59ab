"""The whole pipeline on this machine: Kafka, Redis, the four services and the sink.

Owns: the list of processes, their ports, the environment that connects them, the order of start and
stop. Does not own: supervising processes (supervisor.py), running a single part (parts/). All state
is in one folder: logs/, kafka/, sink.jsonl.

Guarantees: `start` returns when every part is ready, or raises PartNotStarted and leaves no process
running. `stop` drains the services first (SIGTERM, up to 50 s) and leaves no process running.
`abandon` also leaves no process running, but loses the mail in flight and all data.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

from msgspec import Struct, field

from cli.stack import paths
from cli.stack.paths import API, BOUNCE, EVERY_PROCESS, FRONT, RESPONSES, SERVICES
from cli.stack.state import Ended, Endpoints
from local.outside import Outside, Servers, servers
from local.parts import kafka_broker, kafka_cluster, ports, redis_server, services
from local.parts.kafka_broker import create_topics
from local.parts.services import SINK, ServicePlan
from local.process import PartNotStarted, Process, ProcessSpec, Start, execute
from local.settings import StackSettings, check_settings
from local.supervisor import Supervisor, say_on_stderr
from shared.runtime.tcp import in_url
from shared.settings.secrets import masked
from shared.settings.sections import KafkaSettings

_PORTS: Final = ("redis", "sink", "billing", "smtp", "smtps", "bounce", API)


class StackOptions(Struct, frozen=True):
    """The parts of a pipeline and the folder of its state."""

    name: str = "main"
    folder: Path | None = None  # The default is .sluice/run/<name>.
    kafka: str = ""  # The host:port of an existing broker, or "" for an embedded broker.
    redis: str = ""  # The URL of an existing Redis, or "" for an embedded Redis.
    outside: Outside = Outside()  # Used instead of settings that the pipeline chooses.
    kafka_properties: dict[str, str] = field(default_factory=dict)  # For the embedded broker.
    brokers: int = 1  # The number of embedded brokers: 1, or kafka_cluster.SIZE with three copies.
    is_kafka_optimised: bool = False  # Set for long loads, because the start costs CPU.
    services: tuple[str, ...] = SERVICES  # May also contain API and names in APART.
    sink: bool = True
    sink_behaviour: str = "demo"
    base_port: int = 0  # The base of the fixed ports, or 0 for any free ports.
    # True if processes that died are restarted. Tests that kill processes set this to False.
    restart: bool = True
    is_lasting: bool = True  # Tests set False: the pipeline then ends at once and loses its data.
    env: dict[str, str] = field(default_factory=dict)  # Variables for every service.
    # Variables for single processes, by the name of the process.
    part_env: dict[str, dict[str, str]] = field(default_factory=dict)
    say: Callable[[str], None] = say_on_stderr
    start: Start = execute  # A function that starts a process.


class Stack:
    """A pipeline that can be started, watched, damaged and stopped. This class is a context
    manager."""

    def __init__(self, options: StackOptions) -> None:
        self.options = options
        self.folder = options.folder or paths.run_folder(options.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = (*kafka_cluster.port_names(options.brokers), *_PORTS)
        if options.base_port:
            port = ports.fixed_ports(wanted, options.base_port)
        else:
            port = ports.remembered(wanted, self.folder / "ports.json")
        self._door_ports = tuple(port.values())
        self._brokers = kafka_cluster.plan_brokers(
            options.brokers,
            self.folder,
            port,
            options.kafka_properties,
            is_optimised=options.is_kafka_optimised,
        )
        self._redis = redis_server.RedisPlan(self.folder / "redis", port["redis"])
        self.settings = StackSettings(
            options.outside,
            options.kafka,
            options.redis,
            self.folder,
            port,
            has_sink=options.sink,
            copies=options.brokers,
        )
        self._http_ports: dict[str, int] = {}
        self._supervisor = Supervisor(
            self.folder / "logs", options.restart, options.say, start=options.start
        )

    # --- properties -----------------------------------------------------------------------

    @property
    def endpoints(self) -> Endpoints:
        """Return the address of each endpoint."""
        has_billing = "billing" in self.options.services
        has_door = "ingest" in self.options.services
        return Endpoints(
            kafka=self.settings.broker or ",".join(plan.address for plan in self._brokers),
            redis=self.settings.redis_url or self._redis.url,
            smtp=self.settings.door("smtp") if has_door else None,
            smtps=self.settings.door("smtps") if has_door else None,
            bounce=self.settings.door("bounce") if has_door else None,
            billing=f"http://{self.settings.billing}" if has_billing else None,
            api=self.settings.api if API in self.options.services else None,
            metrics={
                name: f"http://{in_url(self.settings.http_host)}:{port}/metrics"
                for name, port in self._http_ports.items()
            },
            sink=self.settings.sink if self.options.sink else None,
            ca_file=self.settings.ca_file if has_door else None,
            kafka_copies=1 if self.settings.broker else self.options.brokers,
        )

    @property
    def kafka(self) -> KafkaSettings:
        """Return the settings with which topics are created on the embedded brokers."""
        return KafkaSettings(bootstrap=self.endpoints.kafka, replication=self.options.brokers)

    @property
    def sink_journal(self) -> Path:
        """Return the path of the sink's journal. The journal has one JSON line per decision."""
        return self.folder / "sink.jsonl"

    @property
    def parts(self) -> list[str]:
        """Return the names of all processes, in the order of their start."""
        return self._supervisor.names()

    def pids(self) -> dict[str, int]:
        """Return the process ids of all running parts, by name."""
        processes = {name: self.process(name) for name in self.parts}
        return {name: process.pid for name, process in processes.items() if process.runs}

    def process(self, name: str) -> Process:
        """Return the current or last process of a part. Raises KeyError if it never started."""
        return self._supervisor.process(name)

    def log(self, name: str) -> Path:
        """Return the log file of a part."""
        return self._supervisor.log(name)

    def restarts(self, name: str) -> int:
        """Return the number of restarts of a part after it died."""
        return self._supervisor.restarts(name)

    def ended(self) -> dict[str, Ended]:
        """Return, by name, the parts that died and were restarted."""
        return self._supervisor.ended()

    def is_ready(self, name: str) -> bool:
        """Return True if a part is running and reports that it is ready."""
        return self.process(name).runs and self._supervisor.spec(name).is_ready()

    # --- start and end --------------------------------------------------------------------

    def check_settings(self) -> None:
        """Raise SettingsError with every fault in the settings of the services."""
        plans = [self._plan(name) for name in self.options.services]
        check_settings([(plan.module, {**os.environ, **plan.variables}) for plan in plans])

    def start(self) -> None:
        """Start everything and wait until all parts are ready. Raises PartNotStarted."""
        try:
            self._supervisor.start(self._foundations(), self._report)
            if not self.settings.broker:
                # On an external broker, the services create topics, with the replication in their
                # settings.
                create_topics(self.kafka)
            own = [self._service(name) for name in self.options.services]
            self._supervisor.start(own, self._report)
        except BaseException:
            self.stop()
            raise

    def _report(self, name: str, seconds: float) -> None:
        self.options.say(f"{name} is ready after {seconds:.0f} s")

    def stop(self) -> None:
        """Drain and stop the services, then stop the sink, then Redis, then Kafka."""
        known = self._supervisor.names()
        own = [name for name in known if name.partition("-")[0] in EVERY_PROCESS]
        brokers = [plan.name for plan in self._brokers]
        self._supervisor.stop((own, (SINK,), ("redis",), brokers))

    def abandon(self) -> None:
        """Kill all processes at once and remove the data. Logs and journal stay."""
        self._supervisor.abandon()
        self.forget_data()

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        (self.stop if self.options.is_lasting else self.abandon)()

    def forget_data(self) -> None:
        """Remove the data of Kafka and Redis. Logs and journal stay."""
        for folder in ("kafka", kafka_cluster.FOLDER, "redis"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    # --- single parts, for tests ----------------------------------------------------------

    def kill(self, name: str, number: int) -> None:
        """Send a signal to a part. If the part dies and options.restart is set, the part is
        restarted."""
        self.process(name).signal(number)

    def hold(self, name: str) -> None:
        """When this part ends, do not restart it until start_part() is called."""
        self._supervisor.hold(name)

    def stop_part(self, name: str) -> bool:
        """Stop a part gracefully, without a restart. Returns True if it drained in time."""
        return self._supervisor.stop_one(name)

    def start_part(self, name: str, extra_env: Mapping[str, str] | None = None) -> None:
        """Start a part that is stopped, or a further process of a service (`deliver-2`).

        Returns at once. To wait until the part is ready, call wait_ready(). The extra environment
        applies to this start and to later restarts, until the next call of start_part().
        """
        spec = self._spec(name)
        self._supervisor.spawn(spec.with_extra_env(dict(extra_env or {})))

    def wait_ready(self, name: str) -> None:
        """Wait until a part is ready. Raises PartNotStarted if it ends or takes too long."""
        self._supervisor.wait_ready(name)

    # --- the parts ------------------------------------------------------------------------

    def _spec(self, name: str) -> ProcessSpec:
        if name.partition("-")[0] in EVERY_PROCESS:
            return self._service(name)
        return self._supervisor.spec(name)

    def _foundations(self) -> list[ProcessSpec]:
        specs = []
        broker, redis_url = self.settings.broker, self.settings.redis_url
        used = Servers()
        if broker or redis_url:
            used = servers(broker, redis_url, self.options.env)
        if not broker:
            specs += [kafka_broker.prepare(plan) for plan in self._brokers]
        elif not kafka_broker.serves(used.kafka):
            raise PartNotStarted(f"no Kafka broker answers at {broker}")
        if not redis_url:
            specs.append(redis_server.prepare(self._redis))
        elif not redis_server.answers_url(used.redis):
            raise PartNotStarted(f"no Redis answers at {masked('url', redis_url)}")
        if self.options.sink:
            behaviour = self.options.sink_behaviour
            address, bounce = self.settings.sink, self.endpoints.bounce
            specs.append(services.sink_process(address, self.folder, behaviour, bounce))
        return specs

    def _http_port(self, name: str) -> int:
        if self.options.base_port:
            return ports.fixed_http_port(EVERY_PROCESS, name, self.options.base_port)
        taken = (*self._door_ports, *self._http_ports.values())
        return ports.free_ports(1, taken)[0]

    def _service(self, name: str) -> ProcessSpec:
        return services.service_process(self._plan(name))

    def _plan(self, name: str) -> ServicePlan:
        if name not in self._http_ports:
            self._http_ports[name] = self._http_port(name)
        endpoints, settings = self.endpoints, self.settings
        env = settings.for_service(endpoints.kafka, endpoints.redis)
        # A further ingest process only reads intakes. A further billing process uses any free port.
        if name in ("ingest", FRONT, BOUNCE):
            env |= settings.for_doors(name, self.options.services)
        if name.startswith("validate") and RESPONSES in self.options.services:
            env["SLUICE_VALIDATE__COUNTS_BOUNCES"] = "false"
        if name.startswith("billing"):
            env |= settings.for_billing(is_first=name == "billing")
        if name == API:
            env |= settings.for_api()
        if name.startswith("deliver") and API in self.options.services:
            env |= settings.for_links()
        env |= self.options.env | self.options.part_env.get(name, {})
        port, is_named = self._http_ports[name], settings.is_named(name)
        return ServicePlan(name, port, env, http_host=settings.http_host, is_named=is_named)
