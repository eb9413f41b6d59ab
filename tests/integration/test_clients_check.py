"""`sluice clients check` as users run it, with a DNS server on loopback."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from cli.clients.command import main
from cli.stack.paths import base_environment
from local.parts.ports import free_ports
from shared.mailauth.dkim_record import public_key_of
from shared.registry.client import Client
from shared.registry.store.changes import Changes
from shared.registry.store.publish import apply
from shared.settings.sections import KafkaSettings

KEY = generate_private_key(65_537, 2_048)
_, PUBLIC = public_key_of(KEY.public_key())
Rows = list[str] | dns.rcode.Rcode
GOOD = "news.good.example"
ZONE: dict[tuple[str, str], Rows] = {
    (GOOD, "MX"): ["10 MX.sluice.example."],
    (GOOD, "TXT"): ['"v=spf1 include:_spf.sluice.example -all"', '"unrelated"'],
    ("_spf.sluice.example", "TXT"): ['"v=spf1 a:out.sluice.example ip6:2001:db8::/64 ?all"'],
    ("out.sluice.example", "A"): ["192.0.2.7"],
    # More than 1,232 octets with its padding, so it arrives by TCP.
    (f"s1._domainkey.{GOOD}", "TXT"): [
        f'"v=DKIM1; n={"n" * 200};" "n1={"x" * 240};" "n2={"x" * 240};" "n3={"x" * 240};"'
        f' "k=rsa; p={PUBLIC[:200]}" "{PUBLIC[200:]}"'
    ],
    ("_dmarc.good.example", "TXT"): ['"v=DMARC1; p=quarantine"'],
    ("bad.example", "MX"): ["0 ."],
    ("bad.example", "TXT"): ['"v=spf1 +all"'],
    ("_dmarc.bad.example", "TXT"): ['"v=DMARC1; p=\\027[31m"'],
    ("away.example", "MX"): dns.rcode.SERVFAIL,
    ("away.example", "TXT"): dns.rcode.REFUSED,
    ("s1._domainkey.away.example", "TXT"): dns.rcode.SERVFAIL,
    ("_dmarc.away.example", "TXT"): dns.rcode.SERVFAIL,
}
NAMES = {name for name, _ in ZONE}


def answer(data: bytes, by_tcp: bool) -> bytes:
    query = dns.message.from_wire(data)
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    kind = dns.rdatatype.to_text(question.rdtype)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    rows = ZONE.get((name, kind), [] if name in NAMES else dns.rcode.NXDOMAIN)
    if isinstance(rows, dns.rcode.Rcode):
        response.set_rcode(rows)
    elif rows:
        response.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *rows))
    wire = response.to_wire(max_size=65_535)
    if len(wire) > 1_232 and not by_tcp:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()
    return wire


class ByUdp(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(answer(self.rfile.read(), by_tcp=False))


class ByTcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        length = int.from_bytes(self.rfile.read(2))
        wire = answer(self.rfile.read(length), by_tcp=True)
        self.wfile.write(len(wire).to_bytes(2) + wire)


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def resolver() -> Iterator[str]:
    # Free for both: below the ports of outgoing connections and questions.
    (port,) = free_ports(1)
    with (
        socketserver.ThreadingTCPServer(("127.0.0.1", port), ByTcp) as tcp,
        socketserver.ThreadingUDPServer(("127.0.0.1", port), ByUdp) as udp,
        serving(tcp),
        serving(udp),
    ):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("dkim") / "key.pem"
    path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(path)


class Told(NamedTuple):
    """The output of a command, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def check(*arguments: str, stdin: str = "", **env: str) -> Told:
    """Run the command in this process: starting one takes longer than all its look-ups."""
    result = CliRunner().invoke(main, ["check", *arguments], input=stdin, env=env)
    return Told(result.exit_code, result.stdout, result.stderr)


def check_by_a_process(*arguments: str, stdin: str) -> Told:
    ended = subprocess.run(
        [sys.executable, "-m", "cli.clients.command", "check", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=base_environment(),
    )
    return Told(ended.returncode, ended.stdout, ended.stderr)


def of_domain(domain: str) -> str:
    client = {
        "name": "acme",
        "sending_domain": domain,
        "forwarding_address": "r@owner.test",
        "mailing_id": "M-1",
    }
    return json.dumps({"clients": [client]})  # JSON is YAML


def options(resolver: str, key_file: str) -> list[str]:
    return [
        *("acme", "--clients", "-", "--resolver", resolver, "--mail-host", "mx.sluice.example"),
        *("--selector", "s1", "--dkim-key", key_file, "--source", "192.0.2.7"),
    ]


def judgements(document: Any) -> dict[str, str]:
    return {row["check"]: row["judgement"] for row in document["checks"]}


def test_a_domain_that_is_delegated_well_is_told_so(resolver: str, key_file: str) -> None:
    arguments = [*options(resolver, key_file), "--source", "2001:db8::25", "--json"]
    told = check_by_a_process(*arguments, stdin=of_domain(GOOD))
    assert told.returncode == 0, told.stdout + told.stderr
    document = json.loads(told.stdout)
    assert (document["client"], document["sending_domain"], document["well"]) == (
        "acme",
        GOOD,
        True,
    )
    checks = ["mx", "spf", "spf 192.0.2.7", "spf 2001:db8::25", "dkim s1", "dmarc"]
    assert judgements(document) == dict.fromkeys(checks, "ok")


def test_each_fault_is_told_with_the_record_that_mends_it(resolver: str, key_file: str) -> None:
    told = check(*options(resolver, key_file), stdin=of_domain("bad.example"))
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    publish = [line.split("publish:")[1].strip() for line in lines if "publish:" in line]
    assert publish[0] == "bad.example. 3600 IN MX 10 mx.sluice.example."
    assert publish[1] == 'bad.example. 3600 IN TXT "v=spf1 -all"'
    assert publish[2].startswith("s1._domainkey.bad.example. 3600 IN TXT")
    assert PUBLIC in publish[2].replace('" "', "")
    assert publish[3] == '_dmarc.bad.example. 3600 IN TXT "v=DMARC1; p=none"'
    assert [line.split()[0] for line in lines if line.startswith("fault")] == ["fault"] * 4
    assert "\x1b" not in told.stdout  # text from strangers cannot control the terminal


def test_a_dns_that_fails_is_away_and_nothing_is_said_to_be_missing(
    resolver: str, key_file: str
) -> None:
    told = check(*options(resolver, key_file), "--json", stdin=of_domain("away.example"))
    document = json.loads(told.stdout)
    checks = ["mx", "spf", "dkim s1", "dmarc"]
    assert judgements(document) == dict.fromkeys(checks, "away")
    assert (told.returncode, document["well"]) == (3, False)


def test_a_dns_that_does_not_answer_is_away_within_the_time_given(key_file: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = [*options(server, key_file), "--timeout", "0.5", "--json"]
        told = check(*arguments, stdin=of_domain(GOOD))
    assert told.returncode == 3
    assert set(judgements(json.loads(told.stdout)).values()) == {"away"}


def test_a_registered_client_is_checked_by_what_the_settings_say(
    kafka_bootstrap: str, resolver: str, key_file: str
) -> None:
    client = Client("check-registered", GOOD, "r@owner.test", "M-1")
    apply(KafkaSettings(bootstrap=kafka_bootstrap), Changes(added=(client,)))
    told = check(
        *(client.name, "--kafka", kafka_bootstrap, "--resolver", resolver, "--json"),
        SLUICE_INGEST__SMTP_HOST_NAME="mx.sluice.example",
        SLUICE_DELIVER__DKIM_SELECTOR="s1",
        SLUICE_DELIVER__DKIM_KEY_FILE=key_file,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    checks = ["mx", "spf", "dkim s1", "dmarc"]
    assert judgements(json.loads(told.stdout)) == dict.fromkeys(checks, "ok")


@pytest.mark.parametrize(("lane", "judgement"), [("gmail", "ok"), ("no-such-lane", "warning")])
def test_a_lane_that_is_not_configured_is_a_warning(
    resolver: str, key_file: str, lane: str, judgement: str
) -> None:
    document = json.loads(of_domain(GOOD))
    document["clients"][0]["lane"] = lane
    told = check(*options(resolver, key_file), "--json", stdin=json.dumps(document))
    assert told.returncode == 0
    assert judgements(json.loads(told.stdout))["lane"] == judgement


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--source", "192.0.2.999"], "--source: '192.0.2.999' is not an IP address"),
        (["--mail-host", "mx"], "--mail-host: 'mx' is not the name of a host"),
        (["--selector", "a b"], "--selector: 'a b' is not a selector"),
        (["--resolver", "localhost:5"], "--resolver: 'localhost:5' is not ADDRESS"),
        (["--resolver", "127.0.0.1:0"], "--resolver: '127.0.0.1:0' is not ADDRESS"),
        (["--dkim-key", "/nonexistent.pem"], "--dkim-key /nonexistent.pem: No such file"),
        (["--dkim-key", __file__], "not an RSA or Ed25519 key in PEM"),
        (["--kafka", "127.0.0.1:1"], "leave out --kafka"),
    ],
)
def test_wrong_use_is_told_without_a_stack_trace(key_file: str, more: list[str], said: str) -> None:
    told = check(*options("127.0.0.1:53", key_file), *more, stdin=of_domain(GOOD))
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_an_unknown_client_is_wrong_use_and_the_known_ones_are_named(
    tmp_path: Path, key_file: str
) -> None:
    file = tmp_path / "clients.yaml"
    file.write_text(of_domain(GOOD), "utf-8")
    arguments = options("127.0.0.1:53", key_file)
    arguments[:3] = ["acne", "--clients", str(file)]
    told = check(*arguments)
    assert told.returncode == 2
    assert "did you mean acme?" in told.stderr
