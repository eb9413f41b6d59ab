"""Mail through a smart host that wants a login: a real aiosmtpd with STARTTLS and AUTH."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink as NullSink
from aiosmtpd.smtp import AuthResult

from local.parts import ports
from services.deliver.core.attempt.results import Deferred, Delivered
from services.deliver.core.routing.sites import Routes, site_of_target
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.smtp.logins import MOST_IN_VAIN, Logins
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.smtp.server_memory import ServerMemory
from services.deliver.edge.smtp.tls import TlsContexts
from shared.runtime.failpoints import Failpoints
from tests.support.certificates import self_signed
from tests.support.pool_talk import ROOM, RULES, SETTINGS, run, send
from tests.support.traced_pools import Shown

PASSWORD = "correct horse"


class Keeper:
    """Takes the right password only; counts the tries."""

    def __init__(self) -> None:
        self.tries: list[bytes] = []

    def __call__(self, server: Any, session: Any, envelope: Any, kind: str, data: Any) -> Any:
        self.tries.append(data.password)
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@contextmanager
def smart_host(
    keeper: Keeper,
    certificate: tuple[Path, Path] | None,
    handler: NullSink | None = None,
    **options: Any,
) -> Iterator[int]:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    port = ports.free_ports(1)[0]
    wanted = {"authenticator": keeper, "auth_required": True, "auth_require_tls": False, **options}
    listening: dict[str, Any] = {"hostname": "127.0.0.1", "port": port, "tls_context": context}
    controller = Controller(handler or NullSink(), server_kwargs=wanted, **listening)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def logins_file(folder: Path, port: int, password: str, level: str = "verified") -> Path:
    path, new = folder / "logins.toml", folder / "logins.new"
    new.write_text(f'["localhost:{port}"]\nuser = "us"\npassword = "{password}"\ntls = "{level}"\n')
    return new.replace(path)


@asynccontextmanager
async def pools_with(
    logins: Logins, port: int, ca_file: Path | None, shown: Shown | None = None
) -> AsyncIterator[Pools]:
    opener = Opener(
        "client.example.com",
        SETTINGS.timeouts,
        Failpoints.none(),
        TlsContexts(str(ca_file or "")),
        servers=ServerMemory(logins=logins),
    )
    tracer = shown.tracer if shown is not None else None
    routes = Routes({"*": f"localhost:{port}"})
    pools = Pools(
        SETTINGS, ROOM, Routing(routes, Resolver(time.monotonic), tracer=tracer), opener, RULES
    )
    pools.start()
    try:
        yield pools
    finally:
        await pools.close()


@pytest.mark.parametrize("excluded", ["LOGIN", "PLAIN"])
def test_mail_goes_out_after_a_login_over_verified_tls(
    tmp_path: Path, certificate: tuple[Path, Path], excluded: str
) -> None:
    async def test(port: int) -> list[str]:
        shown = Shown()
        logins = Logins(str(logins_file(tmp_path, port, PASSWORD)))
        async with pools_with(logins, port, certificate[0], shown) as pools:
            await shown.trace("d.example")
            found = await send(pools, "one@d.example")
            assert isinstance(found, Delivered)
            assert found.tls.startswith("TLSv1.")
            assert found.tls_policy == "verified"
            assert isinstance(await send(pools, "two@d.example"), Delivered)
            return await shown.lines()

    keeper = Keeper()
    with smart_host(keeper, certificate, auth_exclude_mechanism=[excluded]) as port:
        text = "\n".join(run(test(port)))
    assert keeper.tries == [PASSWORD.encode()]
    assert "<hidden>" in text
    assert PASSWORD not in text
    assert base64.b64encode(PASSWORD.encode()).decode() not in text
    assert base64.b64encode(f"\0us\0{PASSWORD}".encode()).decode() not in text


def test_a_refused_login_defers_all_mail_of_the_route_and_a_new_password_sends_it(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    async def test(port: int) -> None:
        logins = Logins(str(logins_file(tmp_path, port, "wrong")))
        async with pools_with(logins, port, certificate[0]) as pools:
            for number in range(3):
                found = await send(pools, f"{number}@d{number}.example")
                assert isinstance(found, Deferred)
                assert (found.bounce_class, found.reply) == ("authentication", "535 5.7.8")
                assert (found.dispatched, found.waits_s is not None) == (False, True)
            assert keeper.tries == [b"wrong"]
            assert logins.refused == 1
            logins_file(tmp_path, port, PASSWORD)
            logins.refresh()
            found = await send(pools, "later@d.example")
            while not isinstance(found, Delivered):  # the pool's own pause is a second
                assert isinstance(found, Deferred)
                found = await send(pools, "later@d.example")
            assert keeper.tries == [b"wrong", PASSWORD.encode()]
            assert logins.refused == 0

    keeper = Keeper()
    with smart_host(keeper, certificate) as port:
        run(test(port))


@pytest.mark.parametrize(
    ("level", "has_tls", "is_known", "is_sent"),
    [
        ("verified", True, True, True),
        ("verified", True, False, False),
        ("verified", False, False, False),
        ("required", True, False, True),
        ("required", False, False, False),
        ("opportunistic", False, False, True),
    ],
)
def test_the_password_is_sent_only_over_the_tls_that_its_login_asks_for(
    tmp_path: Path,
    certificate: tuple[Path, Path],
    level: str,
    has_tls: bool,
    is_known: bool,
    is_sent: bool,
) -> None:
    async def test(port: int) -> None:
        logins = Logins(str(logins_file(tmp_path, port, PASSWORD, level)))
        ca_file = certificate[0] if is_known else None
        async with pools_with(logins, port, ca_file) as pools:
            found = await send(pools, "one@d.example")
            assert isinstance(found, Delivered if is_sent else Deferred)
            assert is_sent or found.tls_fault

    keeper = Keeper()
    with smart_host(keeper, certificate if has_tls else None) as port:
        run(test(port))
    assert bool(keeper.tries) is is_sent


@pytest.mark.parametrize("before", ["", "opportunistic"])
def test_a_login_that_the_file_gains_meanwhile_is_not_sent_over_a_connection_opened_without_it(
    tmp_path: Path, before: str
) -> None:
    class Changing(NullSink):
        async def handle_EHLO(
            self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
        ) -> list[str]:
            session.host_name = hostname
            logins_file(tmp_path, port, PASSWORD)
            logins.refresh()
            return responses

    async def test() -> None:
        async with pools_with(logins, port, None) as pools:
            found = await send(pools, "one@d.example")
            assert isinstance(found, Deferred)  # 530, to a connection without a login

    keeper = Keeper()
    with smart_host(keeper, None, Changing()) as port:
        logins = Logins(
            str(logins_file(tmp_path, port if before else 1, "old", before or "required"))
        )
        run(test())
    assert logins.of(site_of_target(f"localhost:{port}").hosts[0]) is not None
    assert keeper.tries == []


def test_a_smart_host_that_forgets_a_login_gets_it_again_over_another_connection(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    class ForgetfulAfterOne(NullSink):
        async def handle_MAIL(
            self, server: Any, session: Any, envelope: Any, address: str, options: Any
        ) -> str:
            session.offered = getattr(session, "offered", 0) + 1
            if session.offered > 1:
                return "530 5.7.0 Authentication required"
            envelope.mail_from = address
            return "250 OK"

    async def test(port: int) -> None:
        logins = Logins(str(logins_file(tmp_path, port, PASSWORD)))
        async with pools_with(logins, port, certificate[0]) as pools:
            found = [await send(pools, f"{number}@d.example") for number in range(3)]
            assert [type(each) for each in found] == [Delivered, Deferred, Delivered]
        assert len(keeper.tries) == 2

    keeper = Keeper()
    with smart_host(keeper, certificate, ForgetfulAfterOne()) as port:
        run(test(port))


def test_a_smart_host_that_takes_the_login_and_no_mail_is_paused_and_bounces_nothing(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    class Forgetful(NullSink):
        async def handle_MAIL(
            self, server: Any, session: Any, envelope: Any, address: str, options: Any
        ) -> str:
            return "530 5.7.0 Authentication required"

    async def test(port: int) -> None:
        logins = Logins(str(logins_file(tmp_path, port, PASSWORD)))
        async with pools_with(logins, port, certificate[0]) as pools:
            for number in range(3 * MOST_IN_VAIN):
                found = await send(pools, f"{number}@d.example")
                assert isinstance(found, Deferred)
                assert found.bounce_class == "authentication"
                assert found.reply[:3] == "530"
                assert found.dispatched is (number < MOST_IN_VAIN)
            assert logins.refused == 1
            assert "took the login and answered mail with 530 5.7.0" in logins.status()
        assert len(keeper.tries) == MOST_IN_VAIN

    keeper = Keeper()
    with smart_host(keeper, certificate, Forgetful()) as port:
        run(test(port))
