"""Plans three embedded brokers that replicate as in production: three copies, two in sync.

Owns: the list of nodes, the settings that differ from the settings of a single node, the id of the
cluster. Does not own: the start of a node (kafka_broker.py).

Every node is broker and controller, so the cluster works while two of the three nodes run. If only
one node runs, it acknowledges nothing, but no acknowledged record is lost. If a broker dies, its
partitions get new leaders after Kafka's default time, 9 s (broker.session.timeout.ms). A cluster
and a single broker have their data in different folders. So if a pipeline is restarted with another
number of brokers, it does not have the earlier topics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from local.folder import write_whole
from local.parts import ports
from local.parts.kafka_broker import BrokerPlan
from local.parts.kafka_folder import make_id

SIZE: Final = 3
IN_SYNC: Final = 2
# The heap of each node. Under the load of one machine, a node uses about half of its heap.
HEAP_MIB: Final = 256
FOLDER: Final = "cluster"
_ID_FILE: Final = "cluster.id"
_KINDS: Final = ("kafka", "controller")  # The two ports of a node.
_COPIES: Final = {
    "default.replication.factor": str(SIZE),
    "min.insync.replicas": str(IN_SYNC),
    "offsets.topic.replication.factor": str(SIZE),
    "transaction.state.log.replication.factor": str(SIZE),
    "transaction.state.log.min.isr": str(IN_SYNC),
    "share.coordinator.state.topic.replication.factor": str(SIZE),
    "share.coordinator.state.topic.min.isr": str(IN_SYNC),
}


def port_names(brokers: int) -> tuple[str, ...]:
    """Return the names of the ports of this many nodes: `kafka`, `controller`, `kafka-2`, ..."""
    return tuple(f"{kind}{_suffix(n)}" for n in range(1, brokers + 1) for kind in _KINDS)


def node_names(brokers: int) -> tuple[str, ...]:
    """Return the names that the nodes have as parts of a pipeline: `kafka`, `kafka-2`, ..."""
    return tuple(f"kafka{_suffix(number)}" for number in range(1, brokers + 1))


def plan_brokers(
    brokers: int,
    folder: Path,
    port: Mapping[str, int],
    properties: Mapping[str, str],
    *,
    is_optimised: bool,
) -> tuple[BrokerPlan, ...]:
    """Plan the embedded brokers of a pipeline in this folder: a single broker, or a cluster."""
    if brokers == SIZE:
        return members(folder / FOLDER, port, properties, is_optimised=is_optimised)
    ports_of_one = (port["kafka"], port["controller"])
    return (BrokerPlan(folder / "kafka", *ports_of_one, dict(properties), is_optimised),)


def members(
    folder: Path, port: Mapping[str, int], properties: Mapping[str, str], *, is_optimised: bool
) -> tuple[BrokerPlan, ...]:
    """Plan the nodes of a cluster whose data is in this folder. Create the id of the cluster."""
    voters = ",".join(
        f"{n}@{ports.LOOPBACK}:{port[f'controller{_suffix(n)}']}" for n in range(1, SIZE + 1)
    )
    return tuple(
        BrokerPlan(
            folder / name,
            port[name],
            port[f"controller{_suffix(number)}"],
            {**_COPIES, **properties},
            is_optimised,
            name=name,
            node_id=number,
            heap_mib=HEAP_MIB,
            voters=voters,
            cluster_id=_shared_id(folder),
        )
        for number, name in enumerate(node_names(SIZE), 1)
    )


def _shared_id(folder: Path) -> str:
    """Return the id of the cluster. If the id is missing, create it.

    The id is written before the first node is formatted. So if a start is interrupted between two
    nodes, the next start continues with the same id.
    """
    file = folder / _ID_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, make_id())
    return file.read_text().strip()


def _suffix(number: int) -> str:
    return "" if number == 1 else f"-{number}"
