"""TLSA records looked up through a validating resolver: signed, unsigned and forged zones."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.deliver.core.attempt.results import ConnectFault, NoConnection
from services.deliver.core.routing.sites import Host, Mx, Site
from services.deliver.core.tls.policy import (
    Dane,
    DaneFault,
    DaneKeys,
    HostTls,
    NoDane,
    PolicyName,
    Tlsa,
)
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.tls.dane_lookups import DaneLookups
from services.deliver.edge.tls.policies import Levels, TlsPolicies
from shared.runtime.clock import monotonic
from tests.support.authority import Authority
from tests.support.dns_server import serving
from tests.support.pool_talk import run
from tests.support.signed_zones import signed, unbound, unsigned
from tests.support.tls_peers import connect, tls_server

OTHER = "ab" * 32
SIGNED = "signed.example."
FORGED = "forged.example."
PLAIN = "plain.example."


def records(key: str) -> str:
    return f"""\
@ MX 10 mx
mx A 127.0.0.1
_25._tcp.mx TLSA 3 1 1 {key}
other A 127.0.0.1
_25._tcp.other TLSA 3 1 1 {OTHER}
unusable A 127.0.0.1
_25._tcp.unusable TLSA 1 0 1 {key}
_25._tcp.unusable TLSA 3 1 9 abcd
none A 127.0.0.1
alias CNAME mx
out CNAME mx.plain.example.
_25._tcp.out TLSA 3 1 1 {key}
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    return authority.issue("mx", dns=("mx.signed.example",))


@pytest.fixture(scope="module")
def key(certificate: Path) -> str:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    form = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(form).hexdigest()


@pytest.fixture(scope="module")
def resolver(key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    good, anchor = signed(SIGNED, records(key))
    forged, forged_anchor = signed(FORGED, records(key))
    zones = {
        SIGNED: good,
        # After it was signed, as an attacker would.
        FORGED: forged.replace(key[:48], "00" * 24).replace(OTHER[:48], "00" * 24),
        PLAIN: unsigned(PLAIN, records(key)),
    }
    with unbound(tmp_path_factory.mktemp("unbound"), zones, [anchor, forged_anchor]) as address:
        yield address


def found(resolver: str, host: str, port: int = 25) -> Dane:
    async def test() -> Dane:
        return await DaneLookups(monotonic, (resolver,)).dane_of(Host(host, port))

    return run(test())


def keys(key: str, *names: str) -> DaneKeys:
    return DaneKeys((Tlsa(3, 1, 1, bytes.fromhex(key)),), names)


def test_signed_records_count(resolver: str, key: str) -> None:
    assert found(resolver, "mx.signed.example") == keys(key, "mx.signed.example")


def test_of_an_alias_the_records_of_its_target_count(resolver: str, key: str) -> None:
    expected = keys(key, "mx.signed.example", "alias.signed.example")
    assert found(resolver, "alias.signed.example") == expected


def test_records_that_mail_cannot_use_ask_for_encryption(resolver: str) -> None:
    assert found(resolver, "unusable.signed.example") == DaneKeys((), ("unusable.signed.example",))


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("none.signed.example", 25),
        ("mx.signed.example", 2525),
        ("missing.signed.example", 25),
        ("mx.plain.example", 25),
        ("out.signed.example", 25),
    ],
)
def test_there_is_none_without_records_or_without_signatures(
    host: str, port: int, resolver: str
) -> None:
    assert found(resolver, host, port) == NoDane()


@pytest.mark.parametrize("host", ["mx.forged.example", "other.forged.example"])
def test_forged_records_are_a_fault_and_not_none(host: str, resolver: str) -> None:
    assert isinstance(found(resolver, host), DaneFault)


def test_a_resolver_that_fails_is_a_fault() -> None:
    async def test() -> Dane:
        async with serving({}) as (server, address):
            server.failing = True
            return await DaneLookups(monotonic, (address,)).dane_of(Host("mx.signed.example"))

    assert isinstance(run(test()), DaneFault)


@pytest.mark.parametrize(
    ("domain", "is_signed"), [("signed.example", True), ("plain.example", False)]
)
def test_servers_count_only_if_signed_records_name_them(
    domain: str, is_signed: bool, resolver: str
) -> None:
    async def test() -> HostTls:
        policies = TlsPolicies(Levels(), None, DaneLookups(monotonic, (resolver,)))
        host = Host("mx.signed.example")
        site = await policies.secured(Site(host.name, Mx((host,)).hosts), domain, "shop")
        assert (site.pool != site.name) is is_signed
        return await policies.host_tls(site, host)

    tls = run(test())
    assert tls.policy is (PolicyName.DANE if is_signed else PolicyName.OPPORTUNISTIC)


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("mx.signed.example", True),
        ("unusable.signed.example", True),
        ("other.signed.example", False),
        ("mx.forged.example", False),
    ],
)
def test_the_records_decide_whether_a_server_is_used(
    host: str, is_open: bool, resolver: str, certificate: Path
) -> None:
    async def look() -> HostTls:
        policies = TlsPolicies(Levels(), None, DaneLookups(monotonic, (resolver,)))
        server = Host(host)
        site = await policies.secured(Site(host, (server,)), "signed.example", "shop")
        return await policies.host_tls(site, server)

    with tls_server(certificate) as port:
        opened: SmtpConnection | ConnectFault = connect(port, run(look()), name=host)
    if is_open:
        assert isinstance(opened, SmtpConnection)
        assert (opened.tls, opened.tls_policy) == ("TLSv1.3", "dane")
    else:
        assert isinstance(opened, NoConnection)
        assert opened.tls_policy == "dane"
