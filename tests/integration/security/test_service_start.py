"""A service whose settings or secrets are wrong: one line, and /ready says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.parts import ports
from local.parts.services import get_json
from local.process import Process, ProcessSpec
from shared.settings.loader import variable_of
from tests.support.patience import PATIENCE_S
from tests.support.secured_place import Place, ways
from tests.support.smtp_peers import wait_until

COMMAND = (sys.executable, "-m", "services.deliver", "serve")
KEYS = ("security_protocol", "tls_ca_file", "sasl_mechanism", "sasl_username", "sasl_password_file")


def environment(place: Place, **changed: str) -> dict[str, str]:
    found = ways(place)["SCRAM-SHA-512"]
    values = {key: str(getattr(found, key)) for key in ("bootstrap", *KEYS)}
    return {variable_of("kafka", key): value for key, value in (values | changed).items()}


def test_ready_says_that_the_login_is_refused_and_the_service_waits(
    place: Place, tmp_path: Path
) -> None:
    (port,) = ports.free_ports(1)
    env = environment(place, sasl_password_file=place.files.wrong_password)
    env |= {"SLUICE_TELEMETRY__HTTP_PORT": str(port), "SLUICE_DELIVER__REACH_INTERNET": "true"}
    spec = ProcessSpec("deliver", COMMAND, lambda: False, 1, 1, env)
    process = Process(spec, tmp_path / "log")

    def reason() -> str:
        body = get_json(port, "/ready")[1]
        return str(body["checks"].get("brokers", "")) if isinstance(body, dict) else ""

    def lines() -> list[str]:
        return process.log.read_text().splitlines()

    def is_waiting(line: str) -> bool:
        return "waiting for Kafka at" in line and "refuses the login" in line

    try:
        wait_until(lambda: "it refuses the login: " in reason(), "/ready has the reason")
        assert process.runs
        wait_until(lambda: any(map(is_waiting, lines())), "the log says so, in its own time")
        assert not any("Traceback" in line for line in lines())
    finally:
        process.end(10)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"sasl_password_file": "/no/such"}, "settings: kafka.sasl_password_file: /no/such: no "),
        ({"tls_ca_file": "/etc/hostname"}, "settings: kafka.tls_ca_file: /etc/hostname: no PEM"),
        ({"sasl_mechanism": ""}, "settings: kafka: kafka.security_protocol is SASL_SSL without"),
        ({"allow_low_replication": "false"}, "settings: kafka: kafka.replication is 1, expected 3"),
    ],
)
def test_wrong_settings_end_a_service_with_one_line(
    place: Place, changed: dict[str, str], line: str
) -> None:
    done = subprocess.run(
        COMMAND,
        env={**os.environ, **environment(place, **changed)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    (said,) = [each for each in done.stderr.splitlines() if each.startswith("sluice: settings")]
    assert said.startswith(f"sluice: {line}")
    assert "Traceback" not in done.stderr
