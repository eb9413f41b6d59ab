"""Runs the embedded broker: a real Apache Kafka with one KRaft node, on the loopback interface.

Owns: the node's settings, the node's command line, and the creation of the pipeline's topics on the
node. Does not own: Java and the jars (kafka_java.py), the formatting of the node's folder
(kafka_folder.py), clusters of several nodes (kafka_cluster.py). Guarantees: PartNotStarted with one
line of text is raised if a program or file is not available. A broker that is restarted with the
same folder has all records that it has acknowledged.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct

from local.folder import write_whole
from local.parts import kafka_folder, kafka_java, ports
from local.parts.kafka_folder import make_id
from local.process import PartNotStarted, Process, ProcessSpec
from shared.runtime.clock import Deadline
from shared.runtime.tcp import answers
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.topics import names

HEAP_MIB: Final = 448
# The broker is ready when it answers requests, which is shortly after it starts to listen.
READY_TIMEOUT_S: Final = 180.0
STOP_TIMEOUT_S: Final = 20.0
# The broker writes the class archive when it exits.
ARCHIVE_TIMEOUT_S: Final = 60.0
_FORMAT_TIMEOUT_S: Final = 120
_LOOK_EVERY_S: Final = 0.1
# Without Java's optimising compiler, a broker needs 4 s of CPU to start instead of 7 s. While a new
# pipeline is idle, the broker uses a seventh of a processor instead of a third. Under load, the
# broker needs more CPU per message.
_QUICK_START: Final = "-XX:TieredStopAtLevel=1"
# The controller admits a restarted broker only when the session of the broker's last run has ended.
# The controller runs in the same process and measures the time from its own start, so the broker
# always waits for the whole session time-out. Kafka's default time-out is 9 s.
_ALONE: Final = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "1000"}
_TOPICS_TIMEOUT_S: Final = 120.0
_TOPICS_RETRY_S: Final = 0.5


class BrokerListener(Struct, frozen=True):
    """A further listener: its name (such as `SSL`), port and protocol, and its settings without the
    prefix."""

    name: str
    port: int
    protocol: str
    settings: dict[str, str] = {}

    @property
    def address(self) -> str:
        """Return the address on which the broker listens."""
        return f"{ports.LOOPBACK}:{self.port}"


class BrokerPlan(Struct, frozen=True):
    """The plan of an embedded broker: its folder, its two ports on 127.0.0.1, its options."""

    folder: Path
    port: int
    controller_port: int
    properties: dict[str, str] = {}  # Tests use this to override properties().
    is_optimised: bool = False  # See _QUICK_START.
    listeners: tuple[BrokerListener, ...] = ()
    java_options: tuple[str, ...] = ()
    name: str = "kafka"
    node_id: int = 1
    heap_mib: int = HEAP_MIB
    voters: str = ""  # All nodes of a cluster, as id@host:port, or "" for a single node.
    cluster_id: str = ""  # The cluster id, the same for all nodes, or "" for a new id.

    @property
    def address(self) -> str:
        """Return the bootstrap server for clients."""
        return f"{ports.LOOPBACK}:{self.port}"


def properties(plan: BrokerPlan) -> dict[str, str]:
    """Return the content of the node's server.properties."""
    loopback = ports.LOOPBACK
    controller = f"{loopback}:{plan.controller_port}"
    addresses = [f"PLAINTEXT://{plan.address}", f"CONTROLLER://{controller}"]
    addresses += [f"{each.name}://{each.address}" for each in plan.listeners]
    protocols = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
    protocols += [f"{each.name}:{each.protocol}" for each in plan.listeners]
    return {
        "process.roles": "broker,controller",
        "node.id": str(plan.node_id),
        "controller.quorum.voters": plan.voters or f"{plan.node_id}@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(addresses),
        "advertised.listeners": ",".join(addresses),
        "listener.security.protocol.map": ",".join(protocols),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(plan.folder / "data"),
        "auto.create.topics.enable": "false",
        # The broker is a single node, so topics with three replicas in production have one replica
        # here.
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # The session time-outs of the services are shorter than Kafka's default lower bound.
        "group.min.session.timeout.ms": "1000",
        "transaction.max.timeout.ms": "900000",
        # An open transaction of a killed worker is aborted soon after its time-out.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "message.max.bytes": str(8 * 1024 * 1024),
        "replica.fetch.max.bytes": str(8 * 1024 * 1024),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
        "controlled.shutdown.enable": "false",
        **({} if plan.voters else _ALONE),
        **_of_listeners(plan),
        **plan.properties,
    }


def _of_listeners(plan: BrokerPlan) -> dict[str, str]:
    return {
        f"listener.name.{each.name.lower()}.{key}": value
        for each in plan.listeners
        for key, value in each.settings.items()
    }


def prepare(plan: BrokerPlan) -> ProcessSpec:
    """Format the node's folder if it is new. Return the specification of the broker's process."""
    java, jars = kafka_java.find_java(), kafka_java.fetch_jars()
    archive = kafka_java.find_archive(java, jars) or _make_archive(java, jars)
    if archive is None:
        return _node(plan, kafka_java.machine(java, jars), jars)
    option = f"-XX:SharedArchiveFile={archive}"
    return _node(plan, kafka_java.machine(java, jars, option), jars)


def _make_archive(java: str, jars: Path) -> Path | None:
    """Start and stop a broker once, so that Java writes an archive of the loaded classes."""

    def load_classes(option: str) -> None:
        with tempfile.TemporaryDirectory(prefix="sluice-kafka-") as folder:
            port, controller_port = ports.free_ports(2)
            plan = BrokerPlan(Path(folder), port, controller_port)
            spec = _node(plan, kafka_java.machine(java, jars, option), jars)
            process = Process(spec, plan.folder / "kafka.log")
            give_up_at = time.monotonic() + READY_TIMEOUT_S
            try:
                while process.runs and not spec.is_ready() and time.monotonic() < give_up_at:
                    time.sleep(_LOOK_EVERY_S)
            finally:
                process.end(ARCHIVE_TIMEOUT_S)

    return kafka_java.write_archive(java, jars, load_classes)


def _node(plan: BrokerPlan, machine: list[str], jars: Path) -> ProcessSpec:
    plan.folder.mkdir(parents=True, exist_ok=True)
    settings, data = plan.folder / "server.properties", plan.folder / "data"
    values, is_new = properties(plan), not kafka_folder.is_formatted(data)
    if not is_new and kafka_folder.keeps_own_quorum(settings):
        values = kafka_folder.with_own_quorum(values)
    # At the next start, keeps_own_quorum() reads this file.
    write_whole(settings, "".join(f"{key}={value}\n" for key, value in values.items()))
    if is_new:
        ids = {"cluster.id": plan.cluster_id or make_id(), "node.id": str(plan.node_id)}
        usable = [part for part in machine if not part.startswith("-XX:Archive")]
        model = jars.with_name(f"{jars.name}-formatted")
        tool = partial(_format, usable, settings, ids["cluster.id"])
        kafka_folder.format_folder(data, model, ids, tool)
    options = [f"-Xms{plan.heap_mib // 2}m", f"-Xmx{plan.heap_mib}m", *plan.java_options]
    if not plan.is_optimised:
        options.append(_QUICK_START)
    return ProcessSpec(
        name=plan.name,
        command=(*machine[:1], *options, *machine[1:], "kafka.Kafka", str(settings)),
        is_ready=lambda: serves(KafkaSettings(bootstrap=plan.address)),
        ready_timeout_s=READY_TIMEOUT_S,
        stop_timeout_s=STOP_TIMEOUT_S,
    )


def _format(machine: list[str], settings: Path, cluster_id: str) -> None:
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)]
    done = subprocess.run(
        [*machine[:1], _QUICK_START, *machine[1:], *tool],
        capture_output=True,
        text=True,
        check=False,
        timeout=_FORMAT_TIMEOUT_S,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise PartNotStarted(f"Kafka's folder could not be formatted: {said[-1] if said else ''}")


def serves(kafka: KafkaSettings) -> bool:
    """Return True if a broker answers requests at one of these addresses."""
    if not any(map(answers, kafka.bootstrap.split(","))):
        return False
    from kafka.errors import KafkaError

    from shared.stream.client import BOOTSTRAP_MS, client_options, make_admin

    try:
        options = client_options(kafka, "status")
        admin = make_admin(options, 3_000, bootstrap_timeout_ms=BOOTSTRAP_MS)
    except KafkaError:
        return False
    try:
        admin.list_topics()
    except KafkaError:
        return False
    finally:
        admin.close()
    return True


def create_topics(kafka: KafkaSettings) -> None:
    """Create the topics that are missing. Raises PartNotStarted.

    The request is repeated, because a broker that has just started on a busy machine is fenced for
    some seconds. A fenced broker refuses to create topics.
    """
    deadline = Deadline(_TOPICS_TIMEOUT_S)
    while True:
        try:
            ensure_topics(kafka, names.plans(("default",)))
            return
        except (KafkaError, TopicError) as error:
            if deadline.is_over():
                raise PartNotStarted(f"Kafka did not create the topics: {error}") from error
            time.sleep(_TOPICS_RETRY_S)
