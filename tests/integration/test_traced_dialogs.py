"""Traced dialogs with real servers: what is shown, and what is masked."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink as NullSink
from aiosmtpd.smtp import AuthResult

from bench import smtp_sink
from services.deliver.core.attempt.results import Bounced, Deferred, Delivered
from services.deliver.core.tracing.traces import Channel, DialogInfo
from services.deliver.edge.smtp.handshake import TracedClient
from services.deliver.edge.tracing.dialog import Dialog
from shared.topics.traces import TraceLine
from tests.support.certificates import self_signed
from tests.support.pool_talk import CONTENT, run, send
from tests.support.scripted_smtp import CLOSE, Script, scripted
from tests.support.smtp_peers import Sink, running_sink
from tests.support.traced_pools import Shown, traced_pools

PASSWORD = "correct horse"
USER = "relay@example.com"


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with running_sink(tmp_path_factory.mktemp("sink")) as sink:
        yield sink


def test_only_the_traced_dialog_is_shown_with_its_content_as_a_size(sink: Sink) -> None:
    async def test() -> None:
        shown = Shown()
        async with traced_pools(sink.address, shown) as pools:
            assert isinstance(await send(pools, "ok-0@d.example"), Delivered)
            assert await shown.lines() == []
            await shown.trace("d.example")
            assert isinstance(await send(pools, "ok-1@d.example"), Delivered)
            assert isinstance(await send(pools, "ok-2@other.example"), Delivered)
            opened = [line.server for line in shown.written]
            lines = await shown.lines()
            assert isinstance(await send(pools, "ok-3@other.example"), Delivered)
            assert await shown.lines() == []
        sent = [line for line in lines if line.startswith(">")]
        size = len(CONTENT) + len(b"." + b".\r\n")
        assert sent == [
            f"> MAIL FROM:<a@news.example.com> SIZE={len(CONTENT)}",
            "> RCPT TO:<ok-1@d.example>",
            "> DATA",
            f"> <{size} bytes>",
        ]
        received = [line for line in lines if line.startswith("<")]
        assert [line[:5] for line in received] == ["< 250", "< 250", "< 354", "< 250"]
        assert "Subject" not in "".join(lines)
        assert set(opened) <= {"", sink.address}

    run(test())


def test_the_opening_of_a_connection_is_shown_for_mail_that_waits_for_it(sink: Sink) -> None:
    async def test() -> list[TraceLine]:
        shown = Shown()
        async with traced_pools(sink.address, shown) as pools:
            await shown.trace("d.example")
            assert isinstance(await send(pools, "bounce-1@d.example"), Bounced)
            await shown.tracer.flush()
        return shown.written

    found = run(test())
    texts = [f"{line.kind} {line.text}" for line in found]
    assert texts[0] == "* tracing"
    assert texts[1] == f"* connecting to {sink.address}"
    assert texts[2].startswith("< 220 ")
    assert texts[3] == "> EHLO client.example.com"
    assert "< 550 5.1.1" in " ".join(texts)
    last = found[-1]
    assert (last.worker, last.source, last.server) == ("deliver-0", "127.0.0.1", sink.address)
    assert (last.mail_id, last.tls) == ("0" * 26, "")


def test_tls_is_shown_with_its_version(tmp_path: Path) -> None:
    async def test(address: str) -> list[TraceLine]:
        shown = Shown()
        async with traced_pools(address, shown) as pools:
            await shown.trace("d.example")
            assert isinstance(await send(pools, "ok-1@d.example"), Delivered)
            await shown.tracer.flush()
        return shown.written

    cert, key = self_signed(tmp_path)
    with running_sink(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as sink:
        found = run(test(sink.address))
    texts = [f"{line.kind} {line.text}" for line in found]
    assert "> STARTTLS" in texts
    assert any(text.startswith("* TLS: TLSv1.3 TLS_") for text in texts)
    assert texts.count("> EHLO client.example.com") == 2
    assert {line.tls for line in found if line.text.startswith("MAIL FROM")} == {"TLSv1.3"}


def test_the_login_at_a_smart_host_is_hidden_in_both_directions() -> None:
    class Echoing:
        """A server that repeats what it was sent."""

        def __call__(self, server: Any, session: Any, envelope: Any, kind: str, data: Any) -> Any:
            is_right = data.password == PASSWORD.encode()
            reply = f"{235 if is_right else 535} 5.7.8 {data.login!r} {data.password!r}"
            server.transport.write(f"{reply}\r\n".encode())
            return AuthResult(success=is_right, handled=True, auth_data=data)

    async def log_in(port: int, mechanism: str, password: str) -> str:
        shown = Channel("deliver-0")
        client = TracedClient(
            hostname="127.0.0.1", port=port, start_tls=False, local_hostname="us.example"
        )
        client.dialog = Dialog([shown], DialogInfo(1), lambda: 0)
        await client.greet(10.0)
        with suppress(aiosmtplib.SMTPAuthenticationError):
            await getattr(client, f"auth_{mechanism}")(USER, password)
        await client.quit()
        client.close()
        return "\n".join(f"{line.kind} {line.text}" for line in shown.take(0))

    port = smtp_sink.free_port()
    options = {"authenticator": Echoing(), "auth_require_tls": False}
    controller = Controller(NullSink(), hostname="127.0.0.1", port=port, server_kwargs=options)
    controller.start()
    try:
        for mechanism in ("plain", "login"):
            for password in (PASSWORD, "wrong horse"):
                text = run(log_in(port, mechanism, password))
                assert f"> AUTH {mechanism.upper()} <hidden>" in text
                assert text.rstrip().splitlines()[-2:][0].startswith("> QUIT")
                for secret in (USER, password):
                    encoded = base64.b64encode(secret.encode()).decode()
                    assert secret not in text
                    assert encoded not in text
                assert base64.b64encode(f"\0{USER}\0{password}".encode()).decode() not in text
    finally:
        controller.stop()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            {"RCPT": b"550 5.1.1 \x1b[2J\x1b]0;owned\x07 no\r\n", "DATA": b"554 no\r\n"},
            "< 550 5.1.1 \\x1b[2J\\x1b]0;owned\\x07 no",
        ),
        ({"RCPT": b"451 na\xefve\r\n", "DATA": b"554 no\r\n"}, "< 451 na\\xefve"),
        ({"DATA": CLOSE}, "* The server closed the connection"),
        ({"dot": CLOSE}, "* The server closed the connection; the server may have the message"),
        ({"MAIL": b"99 what\r\n"}, "< 99 what"),
        ({"greeting": b"554 5.7.1 go away\r\n"}, "< 554 5.7.1 go away"),
        ({"greeting": b"HTTP/1.1 400 Bad\x1b[2J\r\n"}, "* Malformed SMTP response line:"),
        ({"greeting": CLOSE}, "* no connection: "),
    ],
)
def test_what_goes_wrong_is_shown(script: Script, expected: str) -> None:
    async def test() -> list[str]:
        shown = Shown()
        async with scripted(lambda _: script) as server, traced_pools(server.address, shown) as at:
            await shown.trace("d.example")
            assert not isinstance(await send(at, "x@d.example"), Delivered)
            return await shown.lines()

    lines = run(test())
    assert any(line.startswith(expected) for line in lines), lines
    assert all(line.isprintable() for line in lines)


def test_an_address_that_refuses_the_connect_is_shown() -> None:
    async def test() -> list[str]:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{reserved.getsockname()[1]}"
            shown = Shown()
            async with traced_pools(address, shown) as pools:
                await shown.trace(mail_id="0" * 26)
                assert isinstance(await send(pools, "x@d.example"), Deferred)
                return await shown.lines()

    lines = run(test())
    assert lines[0].startswith("* connecting to 127.0.0.1:")
    assert any("Connect call failed" in line for line in lines[1:]), lines


def test_a_process_that_was_paused_shows_nothing_of_what_happens_after_the_trace(
    sink: Sink,
) -> None:
    async def test() -> None:
        shown = Shown()
        async with traced_pools(sink.address, shown) as pools:
            await shown.trace("d.example")
            await send(pools, "ok-5@d.example")
            shown.clock.go_on(61.0)
            await send(pools, "ok-6@d.example")
            lines = "".join(await shown.lines())
            assert "ok-5@d.example" in lines
            assert "ok-6@d.example" not in lines
            assert not shown.tracer.is_active

    run(test())
