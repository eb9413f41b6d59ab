"""MTA-STS policies fetched from a local HTTPS server, whose domain is in a local DNS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.deliver.core.tls.policy import StsMode, StsPolicy
from services.deliver.core.tls.sts import StsFault
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.smtp.tls import TlsContexts
from services.deliver.edge.tls.mta_sts import MtaSts
from services.deliver.edge.tls.policy_sources import PolicyFetcher
from shared.runtime.clock import FakeClock, monotonic
from tests.support.authority import Authority
from tests.support.dns_server import serving
from tests.support.pool_talk import run

POLICY = b"version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 86400\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
ZONE = {
    ("_mta-sts.d.example.", "TXT"): ['"v=STSv1; id=1"'],
    ("mta-sts.d.example.", "A"): ["127.0.0.1"],
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.issue("good", dns=("mta-sts.d.example",))
    made.issue("other", dns=("d.example",))
    made.issue("expired", days=-1, dns=("mta-sts.d.example",))
    return made


@asynccontextmanager
async def https(certificate: Path, response: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers each request so; its port and the requests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(response)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        server.close()


def look(
    authority: Authority, response: bytes, *, name: str = "good", allow_any: bool = True
) -> tuple[StsPolicy | None, list[str], list[bytes]]:
    """The policy that deliver finds, the faults that it reports, the requests of the server."""

    async def test() -> tuple[StsPolicy | None, list[str], list[bytes]]:
        faults: list[str] = []
        context = TlsContexts(str(authority.ca)).verifying
        async with (
            https(authority.folder / f"{name}.pem", response) as (port, requests),
            serving(ZONE) as (_, dns),
        ):
            resolver = Resolver(monotonic, (dns,))
            fetcher = PolicyFetcher(resolver, context, port=port, allow_any=allow_any)
            report = lambda _domain, fault: faults.append(fault)  # noqa: E731
            sts = MtaSts(resolver.texts, fetcher.fetch, None, FakeClock(), report)
            found = await sts.policy_of("d.example")
        return found, faults, requests

    return run(test())


def test_a_policy_is_fetched_over_https(authority: Authority) -> None:
    found, faults, requests = look(authority, HEAD + b"\r\n" + POLICY)
    assert found == StsPolicy(StsMode.ENFORCE, 86_400, ("mx.d.example",))
    assert faults == []
    assert requests[0].startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
    assert b"\r\nHost: mta-sts.d.example\r\n" in requests[0]


FAULTS = [
    ("the certificate of another name", "other", HEAD + b"\r\n" + POLICY, "sts-webpki-invalid"),
    ("an expired certificate", "expired", HEAD + b"\r\n" + POLICY, "sts-webpki-invalid"),
    ("not found", "good", b"HTTP/1.1 404 Not Found\r\n\r\n", "sts-policy-fetch-error"),
    ("no answer", "good", b"", "sts-policy-fetch-error"),
    ("a page", "good", HEAD + b"\r\n<html>", "sts-policy-invalid"),
    ("endless", "good", HEAD + b"\r\n" + b"x" * 200_000, "sts-policy-invalid"),
]


@pytest.mark.parametrize(
    ("name", "response", "fault"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_a_policy_that_cannot_be_had_is_reported_and_none(
    name: str, response: bytes, fault: str, authority: Authority
) -> None:
    found, faults, _ = look(authority, response, name=name)
    assert found is None
    assert [text.partition(":")[0] for text in faults] == [fault]


def test_a_policy_server_at_a_special_address_is_not_asked(authority: Authority) -> None:
    found, faults, requests = look(authority, HEAD + b"\r\n" + POLICY, allow_any=False)
    assert (found, requests) == (None, [])
    assert faults == ["sts-policy-fetch-error: mta-sts.d.example has no public address"]


def test_a_domain_without_addresses_has_no_policy(authority: Authority) -> None:
    async def test() -> None:
        async with serving({}) as (_, dns):
            fetcher = PolicyFetcher(Resolver(monotonic, (dns,)), TlsContexts().verifying)
            with pytest.raises(StsFault, match="has no address"):
                await fetcher.fetch("d.example")

    run(test())
