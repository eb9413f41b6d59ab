"""A line that carries mail of a user's own: to the bill, and with the user's own settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from cli.stack import state
from local.parts import ports
from shared.topics import ids
from shared.topics.codec import encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.names import EVENTS
from tests.support.line_shell import CLIENTS, LETTER, Shell, UpLine, accepts, wait_for


@pytest.mark.xdist_group("up-line")
def test_a_newcomers_own_publisher_ends_in_a_bill_that_audit_and_recount_confirm(
    up_line: UpLine, tmp_path: Path
) -> None:
    shell, running = up_line.shell, up_line.endpoints
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

    def counted() -> list[tuple[str, int, int, int]]:
        names = ("mailing_id", "billed", "delivered", "received")
        return [tuple(row[name] for name in names) for row in billed()]

    wait_for(lambda: counted() == [("letters", 20, 20, 20)], "20 letters are billed")
    code, out, err = shell.run("cli.audit.command", "--json", "--settled", "--state", shell.name)
    assert code == 0, out + err
    code, out, err = shell.run("services.billing", "recount", "--json", "--state", shell.name)
    assert code == 0, out + err
    code, out, err = shell.run(
        "services.deliver.cli.shaping", "explain", "gmail.com", "--json", "--state", shell.name
    )
    assert code == 0, err
    explained = json.loads(out)
    assert (explained["is_routed"], explained["found"]["site"]) == (True, running["sink"])
    lost = _lose_mail(running["kafka"])
    code, out, err = shell.run("cli.audit.command", "--json", "--state", shell.name)
    assert code == 1, out + err
    faults = {each["kind"]: each for each in json.loads(out)["faults"]}
    assert faults.keys() == {"in_no_queue"}
    found = faults["in_no_queue"]
    assert (found["count"], sorted(found["examples"])) == (3, lost)


def _lose_mail(kafka: str) -> list[str]:
    """Count three messages as received that are on no topic; return their mail ids."""
    lost = sorted(ids.derive("lost", 0, offset, 1_700_000_000_000) for offset in range(3))
    rows = (TallyRow("newcomer", "letters", "", 3, tuple(lost)),)
    key, value, headers = encode_tally(Tally("validate", 1_700_000_000_000, rows), "lost.tally")
    producer = KafkaProducer(bootstrap_servers=kafka, metrics_enabled=False)
    producer.send(EVENTS, key=key, value=value, headers=headers).get(60)
    producer.close()
    return lost


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
    endpoints = json.loads(out)
    assert (endpoints["smtp"], endpoints["billing"]) == (smtp, f"http://{billing}")
    assert accepts(smtp)
    assert accepts(billing)

    registry = tmp_path / "clients.yaml"
    registry.write_text(CLIENTS)
    code, _, err = shell.run(
        "cli.clients.command", "apply", "-f", str(registry), "--state", shell.name
    )
    assert code == 0, err
    producer = KafkaProducer(bootstrap_servers=endpoints["kafka"], metrics_enabled=False)
    producer.send("mail.intake.newcomer", LETTER % 1)
    producer.flush()
    producer.close()
    wait_for(lambda: journal.exists() and "anna@example.net" in journal.read_text(), "the letter")
    found = state.running(shell.name)
    assert found is not None
    environ = Path(f"/proc/{found.parts['deliver']}/environ").read_bytes()
    assert b"SLUICE_KAFKA__STATIC_MEMBERSHIP" not in environ
