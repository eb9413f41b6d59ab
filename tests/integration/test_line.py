"""`up`, `status`, `down` and `demo` as users run them: endpoints, exit codes, no leftovers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from cli.stack import paths, state
from cli.stack.environment import SERVICES, base_environment
from local.parts import ports

WAIT_S = 180.0
MARK = "SLUICE_TEST_MARK"
DOORS = {"kafka", "redis", "smtp", "smtps", "bounce", "billing", "metrics", "sink", "ca_file"}
RESULT = {
    *("published", "refused", "suppressed", "delivered", "bounced", "expired", "in_flight"),
    *("billed", "sink", "agree", "seconds"),
}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        time.sleep(0.05)


class Shell:
    """Runs commands whose processes and descendants can all be found by a mark."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.name = f"test-{self.mark[:8]}"
        self.env = {**os.environ, **base_environment(), MARK: self.mark}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd="/",
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err

    def left(self) -> list[int]:
        """The processes with the mark that are still alive."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and state.start_of(int(entry.name)):
                try:
                    marked = wanted in (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if marked:
                    found.append(int(entry.name))
        return found

    def assert_nothing_left(self) -> None:
        wait_for(lambda: not self.left(), f"the end of {self.left()}")


@pytest.fixture
def shell() -> Iterator[Shell]:
    made = Shell()
    yield made
    for pid in made.left():
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(paths.run_folder(made.name), ignore_errors=True)


@pytest.fixture
def running(shell: Shell) -> dict[str, Any]:
    code, out, err = shell.run("local.up", "--detach", "--json", "--state", shell.name)
    assert code == 0, err
    doors: dict[str, Any] = json.loads(out)
    return doors


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        return True


def test_up_prints_its_doors_status_finds_them_and_down_leaves_no_process(
    shell: Shell, running: dict[str, Any]
) -> None:
    assert running.keys() == DOORS
    assert set(running["metrics"]) == set(SERVICES)
    assert running["redis"].startswith("redis://")
    assert running["billing"].startswith("http://")
    assert accepts(running["kafka"])
    assert accepts(running["sink"])

    code, out, _ = shell.run("local.status", "--json", "--state", shell.name)
    status = json.loads(out)
    assert code == 0
    assert status["running"]
    assert {name: status[name] for name in DOORS} == running
    assert status["ready"] == dict.fromkeys(["kafka", "redis", "sink", *SERVICES], True)

    code, out, err = shell.run("local.up", "--json", "--state", shell.name)
    assert code == 2
    assert "is already running" in json.loads(out)["error"]
    assert "is already running" in err

    # The environment of the processes, not of this shell.
    code, out, _ = shell.run("cli.config.command", "show", "--json", "--state", shell.name)
    rows = {(row["key"], *row["services"]): row for row in json.loads(out)}
    assert rows["kafka.bootstrap", *SERVICES]["value"] == running["kafka"]
    assert rows["deliver.routes", "deliver"]["value"] == {"*": running["sink"]}
    assert rows["deliver.routes", "deliver"]["origin"] == "environment SLUICE_DELIVER__ROUTES"

    code, out, _ = shell.run("local.down", "--json", "--forget", "--state", shell.name)
    assert code == 0
    assert json.loads(out) == {"state": shell.name, "stopped": True, "drained": True}
    shell.assert_nothing_left()
    assert not paths.run_folder(shell.name).exists()

    code, out, _ = shell.run("local.status", "--json", "--state", shell.name)
    assert code == 3
    assert json.loads(out)["running"] is False
    sentence = f"sluice: the pipeline {shell.name!r} is not running; start it with: ./sluice up"
    for command in (
        ["cli.audit.command"],
        ["cli.clients.command", "list"],
        ["cli.topics.command", "plan"],
        ["cli.config.command", "show"],
        ["services.billing", "usage"],
    ):
        code, _, err = shell.run(*command, "--state", shell.name)
        assert (code, err.strip()) == (3, f"{sentence} --state {shell.name}"), command


CLIENTS = """
clients:
  - name: newcomer
    sending_domain: news.newcomer.example
    forwarding_address: returns@owner.example.net
    mailing_id: letters
"""
LETTER = (
    b"From: hello@news.newcomer.example\r\nTo: anna@example.net\r\nSubject: First\r\n"
    b"Message-ID: <%d@newcomer>\r\n\r\nIt works.\r\n"
)


def test_a_newcomers_own_publisher_ends_in_a_bill_that_audit_and_recount_confirm(
    shell: Shell, running: dict[str, Any], tmp_path: Path
) -> None:
    registry = tmp_path / "clients.yaml"
    registry.write_text(CLIENTS)
    code, _, err = shell.run(
        "cli.clients.command", "apply", "-f", str(registry), "--state", shell.name
    )
    assert code == 0, err
    producer = KafkaProducer(bootstrap_servers=running["kafka"], metrics_enabled=False)
    for number in range(20):
        producer.send("mail.intake.newcomer", LETTER % number)
    producer.flush()
    producer.close()

    def billed() -> list[dict[str, Any]]:
        code, out, err = shell.run(
            "services.billing", "usage", "--json", "--client", "newcomer", "--state", shell.name
        )
        assert code == 0, err
        rows: list[dict[str, Any]] = json.loads(out)["rows"]
        return rows

    wait_for(lambda: sum(row["billed"] for row in billed()) == 20, "20 letters billed")
    (row,) = billed()
    assert (row["mailing_id"], row["delivered"], row["received"]) == ("letters", 20, 20)
    code, out, err = shell.run("cli.audit.command", "--json", "--settled", "--state", shell.name)
    assert code == 0, out + err
    code, out, err = shell.run("services.billing", "recount", "--json", "--state", shell.name)
    assert code == 0, out + err


def test_what_the_environment_and_the_file_set_wins_over_what_up_chooses(
    shell: Shell, tmp_path: Path
) -> None:
    smtp, billing, peer = (f"{ports.LOOPBACK}:{port}" for port in ports.free_ports(3))
    journal = tmp_path / "peer.jsonl"
    files = ("--journal", str(journal), "--state", str(tmp_path / "peer.json"))
    shell.start("local.sink", "--listen", peer, *files, "--behaviour", "demo")
    config = tmp_path / "sluice.toml"
    config.write_text(
        f"[kafka]\nstatic_membership = false\n[billing]\nhttp_port = {billing.rpartition(':')[2]}\n"
        f'[deliver]\nroutes = {{"*" = "127.0.0.1:1"}}\n'
    )
    shell.env["SLUICE_CONFIG"] = str(config)
    shell.env["SLUICE_DELIVER__ROUTES"] = json.dumps({"*": peer})
    shell.env["SLUICE_INGEST__SMTP_LISTEN"] = json.dumps([smtp])
    code, out, err = shell.run("local.up", "--detach", "--json", "--state", shell.name)
    assert code == 0, err
    for key in ("deliver.routes", "kafka.static_membership", "billing.http_port"):
        assert f"keeping your setting: {key} (" in err
    doors = json.loads(out)
    assert (doors["smtp"], doors["billing"]) == (smtp, f"http://{billing}")
    assert accepts(smtp)
    assert accepts(billing)

    registry = tmp_path / "clients.yaml"
    registry.write_text(CLIENTS)
    code, _, err = shell.run(
        "cli.clients.command", "apply", "-f", str(registry), "--state", shell.name
    )
    assert code == 0, err
    producer = KafkaProducer(bootstrap_servers=doors["kafka"], metrics_enabled=False)
    producer.send("mail.intake.newcomer", LETTER % 1)
    producer.flush()
    producer.close()
    wait_for(lambda: journal.exists() and "anna@example.net" in journal.read_text(), "the letter")
    found = state.running(shell.name)
    assert found is not None
    environ = Path(f"/proc/{found.parts['deliver']}/environ").read_bytes()
    assert b"SLUICE_KAFKA__STATIC_MEMBERSHIP" not in environ


def test_a_port_that_the_services_cannot_share_is_wrong_use(shell: Shell) -> None:
    shell.env["SLUICE_TELEMETRY__HTTP_PORT"] = "9000"
    code, out, _ = shell.run("local.up", "--json", "--state", shell.name)
    assert code == 2
    assert "SLUICE_TELEMETRY__HTTP_PORT" in json.loads(out)["error"]
    shell.assert_nothing_left()


def test_a_dead_service_is_seen_and_comes_back(shell: Shell, running: dict[str, Any]) -> None:
    found = state.running(shell.name)
    assert found is not None
    killed = found.parts["ingest"]
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        now = state.running(shell.name)
        assert now is not None
        return now.parts.get("ingest", killed) != killed

    wait_for(is_back, "another ingest")
    wait_for(lambda: shell.run("local.status", "--state", shell.name)[0] == 0, "all ready again")


def test_kill_9_of_the_keeper_leaves_no_process(shell: Shell, running: dict[str, Any]) -> None:
    found = state.running(shell.name)
    assert found is not None
    assert set(found.parts) == {"kafka", "redis", "sink", *SERVICES}
    os.kill(found.pid, signal.SIGKILL)
    shell.assert_nothing_left()


def test_a_kafka_that_is_not_there_is_named_and_nothing_is_left(shell: Shell) -> None:
    arguments = ("--json", "--kafka", "127.0.0.1:1", "--state", shell.name)
    code, out, err = shell.run("local.up", *arguments)
    assert code == 3
    assert json.loads(out) == {"error": "no Kafka broker answers at 127.0.0.1:1"}
    assert "127.0.0.1:1" in err
    shell.assert_nothing_left()


def test_ending_what_does_not_run_is_well(shell: Shell) -> None:
    code, out, _ = shell.run("local.down", "--json", "--state", shell.name)
    assert code == 0
    assert json.loads(out)["stopped"] is False


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_state_that_is_no_folder_name_is_wrong_use(shell: Shell, command: str) -> None:
    code, out, _ = shell.run(f"local.{command}", "--json", "--state", "../elsewhere")
    assert code == 2
    assert "cannot be the name" in json.loads(out)["error"]


def demo_state(process: subprocess.Popen[str]) -> state.State | None:
    return state.running(f"demo-{process.pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["starting", "ready"])
def test_a_demo_that_is_interrupted_leaves_no_process(
    shell: Shell, number: signal.Signals, phase: str
) -> None:
    with shell.start("local.demo", "--messages", "2000", "--json") as demo:

        def is_there() -> bool:
            assert demo.poll() is None
            found = demo_state(demo)
            return found is not None and found.phase == phase and len(shell.left()) > 1

        wait_for(is_there, f"the demo {phase}")
        demo.send_signal(number)
        out, err = demo.communicate(timeout=WAIT_S)
    assert demo.returncode == 130, (out, err)
    assert json.loads(out).keys() == {"error"}
    assert "nothing is left running" in err
    shell.assert_nothing_left()


def run_demos(shell: Shell, commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    started = [shell.start("local.demo", *arguments) for arguments in commands]
    results = []
    for demo in started:
        with demo:
            out, err = demo.communicate(timeout=WAIT_S)
        assert demo.returncode == 0, err
        results.append(json.loads(out))
    return results


def test_two_demos_side_by_side_each_end_in_agreement(shell: Shell) -> None:
    for result in run_demos(shell, [("--messages", "300", "--json")] * 2):
        assert result.keys() == RESULT
        assert result["agree"]
        assert result["published"] == 300
        assert result["in_flight"] == 0
        ends = ("refused", "suppressed", "delivered", "bounced", "expired")
        assert sum(result[word] for word in ends) == 300
        assert result["sink"] == {"accepted": result["delivered"], "duplicates": 0}
        assert all(result[word] for word in ("refused", "suppressed", "bounced"))
        assert {row["sub_client"] for row in result["billed"]} == {"", "shop-berlin", "shop-paris"}
    shell.assert_nothing_left()
