"""The supervisor's decisions, and the location of a pipeline's state."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from cli.stack import state
from cli.stack.state import Endpoints, described
from local.parts import kafka_broker, ports
from local.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s
from local.up import write_state


@pytest.mark.parametrize(("deaths", "pause"), [(1, 0.2), (2, 0.4), (3, 0.8), (6, 6.4), (7, 10.0)])
def test_pauses_double_up_to_a_limit(deaths: int, pause: float) -> None:
    assert pause_s(deaths) == pytest.approx(pause)
    assert FIRST_PAUSE_S <= pause_s(deaths) <= LONGEST_PAUSE_S


def test_a_thousand_deaths_still_have_the_longest_pause() -> None:
    assert pause_s(1_000) == LONGEST_PAUSE_S


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("main", True),
        ("demo-17", True),
        ("a.b_c", True),
        ("", False),
        ("..", False),
        ("a/b", False),
        ("-x", False),
        ("x" * 65, False),
        ("main\n", False),
    ],
)
def test_a_lines_name_is_a_plain_folder_name(name: str, fits: bool) -> None:
    assert state.is_name(name) is fits


def test_this_process_is_alive_and_its_number_at_another_time_is_not() -> None:
    pid = os.getpid()
    mine = state.State("x", pid, state.start_of(pid), "ready")
    assert state.is_alive(mine)
    assert not state.is_alive(state.State("x", pid, "1", "ready"))
    assert not state.is_alive(state.State("x", pid, "", "ready"))


def test_a_state_that_cannot_be_written_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setattr(state, "path_of", lambda _: folder / "state.json")
    mine = state.State("x", os.getpid(), "1", "ready")
    assert write_state(mine) == ""
    (folder / "state.json").unlink()
    (folder / "state.json").mkdir()
    assert "may be out of date, because the state cannot be written: " in write_state(mine)
    assert [path.name for path in folder.iterdir()] == ["state.json"]


def test_only_doors_that_exist_are_shown() -> None:
    endpoints = Endpoints(
        kafka="h:1", redis="redis://h:2/0", metrics={"ingest": "http://h:3/metrics"}
    )
    assert described(endpoints) == [
        "  kafka     h:1",
        "  redis     redis://h:2/0",
        "  metrics   http://h:3/metrics  (ingest)",
    ]


def test_ports_are_remembered_while_they_are_free(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = ports.remembered(("kafka", "redis"), file)
    assert ports.remembered(("kafka", "redis"), file) == first
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, first["kafka"]))
        taken.listen()
        assert ports.remembered(("kafka", "redis"), file)["kafka"] != first["kafka"]


@pytest.mark.parametrize("content", ["", "[]", '{"kafka": "x"}', '{"other": 1}'])
def test_a_spoilt_ports_file_is_made_anew(content: str, tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text(content)
    made = ports.remembered(("kafka",), file)
    assert json.loads(file.read_text()) == made


def test_ports_are_below_those_of_outgoing_connections() -> None:
    assert all(20_000 <= port < 32_000 for port in ports.free_ports(20))


def test_the_broker_is_one_node_on_the_loopback_interface(tmp_path: Path) -> None:
    settings = kafka_broker.properties(kafka_broker.BrokerPlan(tmp_path, 21_000, 21_001))
    assert settings["listeners"] == settings["advertised.listeners"]
    assert settings["listeners"].count("127.0.0.1:") == 2
    assert settings["auto.create.topics.enable"] == "false"
    single = [value for name, value in settings.items() if "replication.factor" in name]
    assert set(single) == {"1"}
