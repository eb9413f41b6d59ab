"""Connections under each TLS policy to servers with good and wrong certificates."""

from __future__ import annotations

import asyncio
from hashlib import sha256, sha512
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.deliver.core.attempt.results import Deferred, Delivered, NoConnection, Outcome
from services.deliver.core.routing.sites import Routes
from services.deliver.core.tls.policy import (
    OPPORTUNISTIC_TLS,
    DaneKeys,
    HostTls,
    Level,
    PolicyName,
    Tlsa,
)
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.smtp.tls import TlsContexts
from services.deliver.edge.tls.policies import Levels, TlsPolicies
from services.deliver.sending import load_outcome_rules
from shared.runtime.clock import monotonic
from shared.runtime.failpoints import Failpoints
from tests.support.authority import Authority
from tests.support.pool_talk import ROOM, SETTINGS, envelope, run
from tests.support.tls_peers import TIMEOUTS, connect, tls_server

MX = "mx.d.example"
REQUIRED = HostTls(PolicyName.REQUIRED, is_required=True)
VERIFIED = HostTls(PolicyName.VERIFIED, is_required=True, is_verified=True)
TRIAL = HostTls(PolicyName.MTA_STS_TESTING, is_verified=True, is_trial=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.issue("good", dns=(MX,))
    made.issue("expired", days=-1, dns=(MX,))
    made.issue("other", dns=("mx.e.example",))
    return made


def certificate(authority: Authority, name: str) -> Path | None:
    return authority.folder / f"{name}.pem" if name else None


def certificate_tlsa(path: Path, usage: int, selector: int, matching: int) -> Tlsa:
    loaded = x509.load_pem_x509_certificate(path.read_bytes())
    if selector:
        data = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        data = loaded.public_bytes(Encoding.DER)
    if matching:
        data = (sha256 if matching == 1 else sha512)(data).digest()
    return Tlsa(usage, selector, matching, data)


def routing_to(port: int, policies: TlsPolicies) -> Routing:
    routes = Routes({"*": f"localhost:{port}"})
    return Routing(routes, Resolver(monotonic), tls=policies)


# The server's certificate ("" for no TLS), the policy; the fault of the connection, None if there
# is one.
CASES = [
    ("good", OPPORTUNISTIC_TLS, None),
    ("expired", OPPORTUNISTIC_TLS, None),
    ("", OPPORTUNISTIC_TLS, None),
    ("good", REQUIRED, None),
    ("expired", REQUIRED, None),
    ("", REQUIRED, "starttls-not-supported: "),
    ("good", VERIFIED, None),
    ("expired", VERIFIED, "certificate-expired: "),
    ("other", VERIFIED, "certificate-host-mismatch: "),
    ("", VERIFIED, "starttls-not-supported: "),
]


@pytest.mark.parametrize(("name", "tls", "fault"), CASES)
def test_a_connection_is_used_only_if_its_policy_allows(
    name: str, tls: HostTls, fault: str | None, authority: Authority
) -> None:
    with tls_server(certificate(authority, name)) as port:
        opened = connect(port, tls, ca_file=authority.ca)
    if fault is None:
        assert isinstance(opened, SmtpConnection)
        assert (bool(opened.tls), opened.tls_policy) == (bool(name), tls.policy)
    else:
        assert isinstance(opened, NoConnection)
        assert opened.tls_fault.startswith(fault)
        assert opened.tls_policy == tls.policy
        assert tls.policy in opened.reason


def test_an_unknown_ca_is_refused_where_the_certificate_is_checked(authority: Authority) -> None:
    with tls_server(certificate(authority, "good")) as port:
        opened = connect(port, VERIFIED)
    assert isinstance(opened, NoConnection)
    assert opened.tls_fault.startswith("certificate-not-trusted: ")


@pytest.mark.parametrize(
    ("name", "version", "fault"),
    [
        ("good", "TLSv1.3", ""),
        ("expired", "TLSv1.3", "certificate-expired: "),
        ("other", "TLSv1.3", "certificate-host-mismatch: "),
        ("", "", "starttls-not-supported: "),
    ],
)
def test_in_a_trial_the_mail_goes_out_and_the_fault_is_reported(
    name: str, version: str, fault: str, authority: Authority
) -> None:
    with tls_server(certificate(authority, name)) as port:
        opened = connect(port, TRIAL, ca_file=authority.ca)
    assert isinstance(opened, SmtpConnection)
    assert (opened.tls, opened.tls_policy) == (version, "mta-sts-testing")
    assert opened.tls_fault.startswith(fault)
    assert bool(opened.tls_fault) == bool(fault)


def test_a_server_that_the_policy_does_not_name_gets_no_byte(authority: Authority) -> None:
    tls = HostTls(PolicyName.MTA_STS, True, True, fault="validation-failure: not named")
    with tls_server(certificate(authority, "good")) as port:
        opened = connect(port, tls, ca_file=authority.ca)
    assert isinstance(opened, NoConnection)
    assert opened.tls_fault == "validation-failure: not named"


DANE = [
    ("its key", "good", "good", (3, 1, 1), None),
    ("its certificate, SHA-512", "good", "good", (3, 0, 2), None),
    ("its certificate as a whole", "good", "good", (3, 0, 0), None),
    ("its key, though expired", "expired", "expired", (3, 1, 1), None),
    ("its key, for another name", "other", "other", (3, 1, 1), None),
    ("another key", "good", "other", (3, 1, 1), "validation-failure: no record matches"),
    ("its CA as a whole", "good", "ca", (2, 0, 0), None),
    ("its CA, for another name", "other", "ca", (2, 0, 0), "validation-failure: "),
    ("its CA, expired", "expired", "ca", (2, 0, 0), "validation-failure: "),
    ("its CA, which it does not send", "good", "ca", (2, 0, 1), "validation-failure: no record"),
    ("no TLS", "", "good", (3, 1, 1), "starttls-not-supported: "),
]


@pytest.mark.parametrize(
    ("name", "pinned", "kind", "fault"), [case[1:] for case in DANE], ids=[case[0] for case in DANE]
)
def test_tlsa_records_decide_on_the_certificate(
    name: str, pinned: str, kind: tuple[int, int, int], fault: str | None, authority: Authority
) -> None:
    record = certificate_tlsa(authority.folder / f"{pinned}.pem", *kind)
    tls = HostTls(PolicyName.DANE, is_required=True, dane=DaneKeys((record,), (MX,)))
    with tls_server(certificate(authority, name)) as port:
        opened = connect(port, tls)
    if fault is None:
        assert isinstance(opened, SmtpConnection), opened
        assert (opened.tls, opened.tls_policy) == ("TLSv1.3", "dane")
    else:
        assert isinstance(opened, NoConnection)
        assert opened.tls_fault.startswith(fault)


@pytest.mark.parametrize(
    ("level", "trusted", "expected"),
    [
        (None, False, ("", "opportunistic")),
        (Level.REQUIRED, False, ("", "required")),
        (Level.VERIFIED, True, ("", "verified")),
        (Level.VERIFIED, False, ("certificate-not-trusted", "verified")),
    ],
)
def test_the_outcome_names_the_policy_and_a_failure_defers(
    level: Level | None, trusted: bool, expected: tuple[str, str], authority: Authority
) -> None:
    async def test(port: int) -> Outcome:
        contexts = TlsContexts(str(authority.ca) if trusted else "")
        opener = Opener("client.example.com", TIMEOUTS, Failpoints.none(), contexts)
        policies = TlsPolicies(Levels(clients={"shop": level} if level is not None else {}))
        pools = Pools(SETTINGS, ROOM, routing_to(port, policies), opener, load_outcome_rules())
        pools.start()
        try:
            outcome = await pools.send(envelope("b@d.example"), b"Subject: x\r\n\r\nx\r\n")
            assert outcome is not None
            return outcome
        finally:
            await pools.close()

    with tls_server(certificate(authority, "good")) as port:
        outcome = run(test(port))
    assert (outcome.tls_fault.partition(":")[0], outcome.tls_policy) == expected
    if expected[0]:
        assert isinstance(outcome, Deferred)
        assert (outcome.enhanced, outcome.dispatched) == ("4.7.5", False)
    else:
        assert isinstance(outcome, Delivered)
        assert outcome.tls == "TLSv1.3"


def test_messages_that_ask_for_more_have_connections_of_their_own(authority: Authority) -> None:
    async def test(port: int) -> list[str]:
        opener = Opener("client.example.com", TIMEOUTS, Failpoints.none(), TlsContexts())
        policies = TlsPolicies(Levels({"b.example": Level.REQUIRED}))
        pools = Pools(SETTINGS, ROOM, routing_to(port, policies), opener, load_outcome_rules())
        pools.start()
        try:
            sent = [
                pools.send(envelope(f"x@{domain}.example"), b"Subject: x\r\n\r\nx\r\n")
                for domain in ("a", "b", "a")
            ]
            outcomes = await asyncio.gather(*sent)
            return [outcome.tls_policy for outcome in outcomes if outcome is not None]
        finally:
            await pools.close()

    with tls_server(certificate(authority, "good")) as port:
        assert run(test(port)) == ["opportunistic", "required", "opportunistic"]
