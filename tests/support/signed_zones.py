"""Signed DNS zones served by a real validating resolver (unbound)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.zone
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.smtp_sink import free_port
from local.parts.packages import find_program
from shared.runtime.clock import monotonic

DAY_S = 86_400
START_S = 120.0


def unsigned(name: str, text: str) -> str:
    """Return a zone that is not signed."""
    soa = "@ SOA ns hostmaster 1 3600 600 86400 300"
    return f"$ORIGIN {name}\n$TTL 300\n{soa}\n@ NS ns\nns A 127.0.0.1\n{text}"


def signed(name: str, text: str) -> tuple[str, str]:
    """Return a zone signed with a new key: its text, and the trust anchor."""
    zone = dns.zone.from_text(unsigned(name, text), name, relativize=False)
    private = Ed25519PrivateKey.generate()
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssec.ED25519, flags=257)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, [(private, key)], lifetime=DAY_S, dnskey_ttl=300)
    return zone.to_text(relativize=False), f"{name} DNSKEY {key.to_text()}"


@contextmanager
def unbound(folder: Path, zones: Mapping[str, str], anchors: list[str]) -> Iterator[str]:
    """Run unbound over these zones; yields its address as host:port."""
    port = free_port()
    lines = [
        "server:",
        f'  interface: 127.0.0.1@{port}\n  directory: "{folder}"\n  pidfile: ""\n  chroot: ""',
        '  username: ""\n  do-daemonize: no\n  use-syslog: no\n  logfile: "log"\n  verbosity: 1',
        "  do-not-query-localhost: no\n  val-clean-additional: yes\n  do-ip6: no",
        '  module-config: "validator iterator"',
        *(f'  trust-anchor: "{anchor}"' for anchor in anchors),
    ]
    for name, text in zones.items():
        (folder / f"{name}zone").write_text(text)
        lines += [
            "auth-zone:",
            f'  name: "{name}"\n  zonefile: "{name}zone"',
            "  for-upstream: yes\n  for-downstream: no",
        ]
    lines += ["remote-control:", "  control-enable: no", ""]
    (folder / "unbound.conf").write_text("\n".join(lines))
    program = find_program("unbound")
    assert program, "unbound is not installed"
    process = subprocess.Popen([program, "-d", "-c", str(folder / "unbound.conf")])
    try:
        _wait_ready(process, port, folder)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    query = dns.message.make_query("localhost.", "A")
    until = monotonic() + START_S
    while monotonic() < until:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            dns.query.udp(query, "127.0.0.1", timeout=0.2, port=port)
        except (dns.exception.Timeout, OSError):
            continue
        return
    raise AssertionError("unbound does not answer")
