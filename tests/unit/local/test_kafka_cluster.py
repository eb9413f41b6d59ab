"""The plan of three embedded brokers that replicate."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.answer import Exit
from local import up
from local.outside import Outside
from local.parts import kafka_broker, kafka_cluster
from local.parts.kafka_broker import BrokerPlan
from local.settings import StackSettings

PORTS = {name: 21_000 + n for n, name in enumerate(kafka_cluster.port_names(kafka_cluster.SIZE))}


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[BrokerPlan, ...]:
    return kafka_cluster.members(tmp_path, PORTS, {"log.retention.ms": "1"}, is_optimised=True)


def values(nodes: tuple[BrokerPlan, ...], key: str) -> set[str]:
    return {kafka_broker.properties(node)[key] for node in nodes}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("default.replication.factor", "3"),
        ("min.insync.replicas", "2"),
        ("offsets.topic.replication.factor", "3"),
        ("transaction.state.log.replication.factor", "3"),
        ("transaction.state.log.min.isr", "2"),
        ("log.retention.ms", "1"),
        (
            "controller.quorum.voters",
            "1@127.0.0.1:21001,2@127.0.0.1:21003,3@127.0.0.1:21005",
        ),
    ],
)
def test_all_nodes_agree_on_copies_and_voters(
    key: str, value: str, nodes: tuple[BrokerPlan, ...]
) -> None:
    assert values(nodes, key) == {value}


@pytest.mark.parametrize("key", ["node.id", "listeners", "log.dirs"])
def test_each_node_has_its_own_number_address_and_folder(
    key: str, nodes: tuple[BrokerPlan, ...]
) -> None:
    assert len(values(nodes, key)) == kafka_cluster.SIZE


def test_a_node_of_a_cluster_does_not_name_bootstrap_controllers_too(
    nodes: tuple[BrokerPlan, ...],
) -> None:
    assert all(
        "controller.quorum.bootstrap.servers" not in kafka_broker.properties(node) for node in nodes
    )


def test_only_a_broker_that_is_alone_is_let_in_again_early(
    tmp_path: Path, nodes: tuple[BrokerPlan, ...]
) -> None:
    # In a cluster a short session would move leaders from a broker that is only slow.
    alone = kafka_broker.properties(BrokerPlan(tmp_path, 21_000, 21_001))
    heartbeat_ms = int(alone["broker.heartbeat.interval.ms"])
    assert 2 * heartbeat_ms < int(alone["broker.session.timeout.ms"]) < 9_000
    assert not any("broker.session.timeout.ms" in kafka_broker.properties(each) for each in nodes)


def test_the_id_of_a_cluster_is_the_same_in_all_nodes_and_after_a_restart(
    tmp_path: Path, nodes: tuple[BrokerPlan, ...]
) -> None:
    again = kafka_cluster.members(tmp_path, PORTS, {}, is_optimised=False)
    assert len({node.cluster_id for node in (*nodes, *again)}) == 1
    other = kafka_cluster.members(tmp_path / "other", PORTS, {}, is_optimised=False)
    assert other[0].cluster_id != nodes[0].cluster_id


def test_one_broker_has_the_ports_it_always_had() -> None:
    assert kafka_cluster.port_names(1) == ("kafka", "controller")


@pytest.mark.parametrize(
    ("copies", "kafka", "expected"),
    [(1, "", None), (3, "", "3"), (3, "kafka.example.net:9092", None)],
)
def test_services_are_given_the_copies_of_embedded_brokers_only(
    copies: int, kafka: str, expected: str | None, tmp_path: Path
) -> None:
    settings = StackSettings(Outside(), kafka, "", tmp_path, {}, has_sink=False, copies=copies)
    assert settings.for_service("h:1", "r").get("SLUICE_KAFKA__REPLICATION") == expected


def test_brokers_of_its_own_and_existing_ones_exclude_each_other() -> None:
    done = CliRunner().invoke(up.main, ["--brokers", "3", "--kafka", "h:1", "--state", "no-such"])
    assert done.exit_code == Exit.USAGE_ERROR
    assert "--brokers 3 starts brokers, but --kafka specifies existing brokers" in done.output
