"""`sluice clients check`: checks that a client's sending domain is delegated correctly.

Owns: the command, the expected values of this installation, and the output. Does not own: the
judgement (shared/mailauth/delegation.py), the look-ups (dns.py). The command writes nothing. Exit
codes: 0 no fault (warnings are allowed), 1 a fault, 2 wrong usage or an unknown client, 3 the DNS
or Kafka is unavailable and no fault is known.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import Struct

from cli.answer import Exit, fail, print_json, say
from cli.check.command import WrongChoice, choose
from cli.clients.dns import DnsLookUps, ResolverError
from cli.clients.faults import answering
from cli.clients.given import judge_lane, judge_pool, read_clients
from cli.config.command import ServiceConfigError, ask_service
from cli.options import dns_options, find_kafka, kafka_options
from shared.mail.domains import normalise
from shared.mailauth.delegation import Expected, Finding, Judgement, judge_delegation
from shared.mailauth.dkim_record import public_key_of
from shared.registry.client import Client
from shared.registry.store.view import load_registry
from shared.runtime.clock import Deadline

_SELECTOR: Final = re.compile(r"(?=.{1,63}$)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_COLOURS: Final = {
    Judgement.OK: "green",
    Judgement.WARNING: "yellow",
    Judgement.FAULT: "red",
    Judgement.AWAY: "magenta",
}
_MARGIN: Final = " " * 9
_HELP: Final = """Check in the DNS that a client's sending domain is delegated correctly.

The command checks MX, SPF, DKIM and DMARC, and shows each fault with the record that fixes it. If
one of these options is not given, the command uses the setting:

\b
  --mail-host  ingest.smtp_host_name
  --selector   deliver.dkim_selector
  --dkim-key   deliver.dkim_key_file

\b
Example:
  ./sluice clients check acme --mail-host mx.example.com

\b
Exit codes:
  0  there is no fault
  1  there is a fault
  2  wrong usage
  3  the DNS or Kafka is unavailable
"""


class _Asked(Struct, frozen=True):
    """The options, unchanged."""

    mail_hosts: tuple[str, ...]
    sources: tuple[str, ...]
    selectors: tuple[str, ...]
    key_file: str
    path: Path | None  # clients.yaml
    server: str
    timeout_s: float
    bootstrap: str
    line: str


@click.command("check", help=_HELP)
@click.argument("name")
@click.option(
    "--clients",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Read the client from this clients.yaml instead of Kafka; - for standard input.",
)
@click.option(
    "--mail-host",
    "mail_hosts",
    multiple=True,
    metavar="HOST",
    help="Require that the MX record names this server of yours, such as mx.example.com; may be"
    " repeated.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="IP",
    help="Require that SPF covers this IP address, from which mail is sent; may be repeated.",
)
@click.option(
    "--selector",
    "selectors",
    multiple=True,
    metavar="SELECTOR",
    help="Check the DKIM key of this selector; may be repeated.",
)
@click.option(
    "--dkim-key",
    "key_file",
    default="",
    metavar="FILE",
    help="Compare the DNS with this key (PEM, private or public).",
)
@dns_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@kafka_options
@answering
def check(name: str, as_json: bool, **options: Any) -> None:
    """Find the client, ask the DNS, print the findings, and end with the exit code."""
    asked = _Asked(**options)
    try:
        client = _find(name, asked)
        expected = _expected(asked)
        own = [*judge_lane(client), *judge_pool(client)]
        ask = DnsLookUps(asked.server, Deadline(asked.timeout_s))
    except (WrongChoice, ResolverError) as error:
        text = f"--resolver: {error}" if isinstance(error, ResolverError) else str(error)
        fail(text, Exit.USAGE_ERROR, as_json)
    except ServiceConfigError as error:
        fail("; ".join(error.lines), Exit.USAGE_ERROR, as_json)
    findings = [*judge_delegation(ask, client.sending_domain, expected), *own]
    if as_json:
        print_json(_document(client, findings))
    else:
        _tell(client, findings)
    sys.exit(_exit_code(findings))


def _find(name: str, asked: _Asked) -> Client:
    if asked.path is None:
        registered = load_registry(find_kafka(asked.bootstrap, asked.line))
        return choose(registered, name, alone=False)
    if asked.bootstrap or asked.line:
        raise WrongChoice("--clients is read instead of Kafka: leave out --kafka and --state")
    known = {client.name: client for client in read_clients(asked.path, "--clients")}
    return choose(known, name, alone=False)


def _expected(asked: _Asked) -> Expected:
    """Return the expected values. A value that no option specifies comes from the settings.

    Raises WrongChoice, ServiceConfigError.
    """
    settings: dict[str, str] = {}
    if not (asked.mail_hosts and asked.selectors and asked.key_file):
        rows = [row for service in ("ingest", "deliver") for row in ask_service(service)]
        settings = {row.key: str(row.value) for row in rows}
    hosts = asked.mail_hosts or (settings["ingest.smtp_host_name"],)
    selectors = asked.selectors or (settings["deliver.dkim_selector"],)
    kind, key = _public_key(asked.key_file, settings.get("deliver.dkim_key_file", ""))
    return Expected(
        mail_hosts=tuple(_host(host, is_given=bool(asked.mail_hosts)) for host in hosts),
        sources=tuple(map(_address, asked.sources)),
        selectors=tuple(map(_selector, selectors)),
        key_type=kind,
        public_key=key,
    )


def _host(given: str, *, is_given: bool) -> str:
    host = normalise(given.removesuffix("."))
    if host:
        return host
    if is_given:
        raise WrongChoice(
            f"--mail-host: {given!r} is not the name of a host; for example mx.example.com"
        )
    raise WrongChoice(
        "give --mail-host, the name of this installation's mail server, which the client's MX"
        " record has to name; for example --mail-host mx.example.com"
        f" (the setting ingest.smtp_host_name, {given!r}, is not a domain name)"
    )


def _address(given: str) -> str:
    try:
        return str(ipaddress.ip_address(given))
    except ValueError:
        raise WrongChoice(f"--source: {given!r} is not an IP address") from None


def _selector(given: str) -> str:
    if not _SELECTOR.fullmatch(given):
        raise WrongChoice(
            f"--selector: {given!r} is not a selector: it has letters, digits, - and ."
        )
    return given.lower()


def _public_key(given: str, of_settings: str) -> tuple[str, str]:
    """Return the k= and p= of the installation's DKIM key; p= is "" if no key can be read here."""
    if given:
        return _load_key(given, "--dkim-key")
    if not of_settings:
        return "rsa", ""
    try:
        return _load_key(of_settings, "deliver.dkim_key_file")
    except WrongChoice as error:  # Perhaps only the hosts of the deliver service have the file.
        say(f"{error}; the key in the DNS is not compared")
        return "rsa", ""


def _load_key(path: str, origin: str) -> tuple[str, str]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WrongChoice(f"{origin} {path}: {error.strerror}") from None
    wanted = WrongChoice(f"{origin} {path}: not an RSA or Ed25519 key in PEM")
    try:
        loaded = _load_pem(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise wanted from None  # The library's error text may contain the key.
    if isinstance(loaded, RSAPrivateKey | Ed25519PrivateKey):
        loaded = loaded.public_key()
    if not isinstance(loaded, RSAPublicKey | Ed25519PublicKey):
        raise wanted
    return public_key_of(loaded)


def _load_pem(data: bytes) -> object:
    if b"PRIVATE KEY" in data:
        return load_pem_private_key(data, password=None)
    return load_pem_public_key(data)


def _document(client: Client, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "client": client.name,
        "sending_domain": client.sending_domain,
        "well": _exit_code(findings) is Exit.OK,
        "checks": findings,
    }


def _tell(client: Client, findings: Sequence[Finding]) -> None:
    click.echo(f"client {client.name}, sending domain {client.sending_domain}")
    for finding in findings:
        word = click.style(f"{finding.judgement.value:<8}", fg=_COLOURS[finding.judgement])
        click.echo(f"{word} {finding.check}: {_printable(finding.found)}")
        if finding.judgement is Judgement.OK:
            continue
        click.echo(f"{_MARGIN}expected: {finding.expected}")
        for record in filter(None, finding.publish.split("\n")):
            click.echo(f"{_MARGIN}publish:  {_printable(record)}")


def _exit_code(findings: Sequence[Finding]) -> Exit:
    judgements = {finding.judgement for finding in findings}
    if Judgement.FAULT in judgements:
        return Exit.CHECK_FAILED
    return Exit.PART_UNAVAILABLE if Judgement.AWAY in judgements else Exit.OK


def _printable(text: str) -> str:
    """Replace characters that could control a terminal, because strangers write the DNS records."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
