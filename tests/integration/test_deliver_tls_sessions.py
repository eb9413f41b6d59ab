"""TLS sessions are resumed with real servers, under the same policy only; faults cost no mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from services.deliver.core.routing.candidates import Candidate
from services.deliver.core.routing.sites import Host
from services.deliver.core.tls.policy import HostTls, PolicyName
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.smtp.server_memory import ServerMemory
from services.deliver.edge.smtp.tls import TlsContexts
from shared.runtime.failpoints import Failpoints
from tests.support.certificates import self_signed
from tests.support.pool_talk import run
from tests.support.tls_peers import TIMEOUTS, tls_server

ANY = HostTls()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cert, key = self_signed(tmp_path_factory.mktemp("tls"))
    key.rename(cert.with_suffix(".key"))
    return cert


class Client:
    """An opener, and what its connections had."""

    def __init__(self, port: int, ca_file: Path | None = None) -> None:
        contexts = TlsContexts(str(ca_file) if ca_file is not None else "")
        self.servers = ServerMemory()
        self.candidate = Candidate(Host("localhost", port), "127.0.0.1")
        self._opener = Opener(
            "client.example.com", TIMEOUTS, Failpoints.none(), contexts, servers=self.servers
        )

    async def connect(self, tls: HostTls = ANY) -> tuple[str, bool]:
        """The TLS version of a new connection, and whether its session was resumed."""
        connected = await self._opener.connect([self.candidate], 60.0)
        assert connected.sock is not None
        opened = await self._opener.open(self.candidate, connected.sock, tls)
        assert isinstance(opened, SmtpConnection), opened
        opened.close()
        return opened.tls, opened.is_resumed


@asynccontextmanager
async def breaking(behind: list[int], broken: int) -> AsyncIterator[int]:
    """A way to the server at port `behind[0]`.

    One connection, counted from 1, ends at its TLS handshake.
    """
    count = 0

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        ends_at_tls = count == broken
        inner, outer = await asyncio.open_connection("127.0.0.1", behind[0])

        async def back() -> None:
            while data := await inner.read(65_536):
                writer.write(data)

        going_back = asyncio.create_task(back())
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if ends_at_tls and data[:1] == b"\x16":  # a TLS record with a handshake
                    break
                outer.write(data)
        going_back.cancel()
        outer.close()
        writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_the_second_connection_resumes_the_session_of_the_first(certificate: Path) -> None:
    async def test(port: int) -> None:
        client = Client(port)
        assert await client.connect() == ("TLSv1.3", False)
        assert await client.connect() == ("TLSv1.3", True)
        assert await client.connect() == ("TLSv1.3", True)
        found = await asyncio.gather(*(client.connect() for _ in range(3)))
        assert found == [("TLSv1.3", True)] * 3

    with tls_server(certificate) as port:
        run(test(port))


def test_no_session_goes_from_one_policy_or_server_to_another(certificate: Path) -> None:
    async def test(port: int) -> None:
        client = Client(port, certificate)
        for tls in (
            ANY,
            HostTls(PolicyName.REQUIRED, is_required=True),
            HostTls(PolicyName.VERIFIED, is_required=True, is_verified=True),
            HostTls(PolicyName.MTA_STS, is_required=True, is_verified=True),
        ):
            assert await client.connect(tls) == ("TLSv1.3", False), tls
            assert await client.connect(tls) == ("TLSv1.3", True), tls
        client.candidate = Candidate(Host("other.localhost", port), "127.0.0.1")
        assert await client.connect() == ("TLSv1.3", False)

    with tls_server(certificate) as port:
        run(test(port))


def test_a_server_that_has_forgotten_the_session_takes_a_full_handshake(certificate: Path) -> None:
    async def test() -> None:
        with tls_server(certificate) as first, tls_server(certificate) as second:
            behind = [first]
            async with breaking(behind, 0) as way:
                client = Client(way)
                assert await client.connect() == ("TLSv1.3", False)
                behind[0] = second
                assert await client.connect() == ("TLSv1.3", False)
                assert await client.connect() == ("TLSv1.3", True)

    run(test())


def test_a_connection_that_breaks_when_it_resumes_is_opened_again_with_tls(
    certificate: Path,
) -> None:
    async def test(port: int) -> None:
        async with breaking([port], 2) as way:
            client = Client(way)
            assert await client.connect() == ("TLSv1.3", False)
            assert await client.connect() == ("TLSv1.3", False)
            assert await client.connect() == ("TLSv1.3", True)
            now = asyncio.get_running_loop().time()
            assert client.servers.tls.fault(client.candidate.host, now) == ""

    with tls_server(certificate) as port:
        run(test(port))
