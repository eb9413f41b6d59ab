"""Traced dialogs with real servers: what is shown, what is masked, and that sending never waits."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink as NullSink
from aiosmtpd.smtp import AuthResult

from bench import smtp_sink
from services.deliver.core.attempt.outcome import Bounced, Deferred, Delivered
from services.deliver.core.tracing.channel import MAX_QUEUED, Channel, DialogInfo
from services.deliver.core.tracing.traces import Traces
from services.deliver.edge.smtp.client import TracedClient
from services.deliver.edge.tracing.dialog import Dialog
from services.deliver.edge.tracing.tracer import Tracer
from shared.runtime.clock import SystemClock, now_ms
from shared.settings.sections import RedisSettings
from shared.store.client import NO_RETRY, StoreUnavailable, connect, connect_async
from shared.store.traces import KEPT_S, MAX_KEPT, PREFIX, TraceReader, append_lines
from shared.topics.traces import Trace, TraceLine
from tests.support.certificates import self_signed
from tests.support.pool_talk import CONTENT, run, send, until
from tests.support.scripted_smtp import CLOSE, Script, scripted
from tests.support.smtp_peers import Sink, running_sink
from tests.support.traced_pools import TRACE_ID, Ordered, Shown, traced_pools

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


class Watched:
    """A tracer whose lines go to a real Redis."""

    def __init__(self, url: str) -> None:
        self.settings = RedisSettings(url=url)
        self.client = connect_async(self.settings, retry=NO_RETRY)
        now = now_ms()
        self.source = Ordered()
        trace = Trace(TRACE_ID, "d.example", at_ms=now, expires_at_ms=now + 60_000)
        self.source.traces = Traces([trace], now)
        append = partial(append_lines, self.client)
        self.tracer = Tracer(self.source, append, SystemClock(), "deliver-0")


def test_lines_reach_a_reader_through_redis_bounded_and_with_an_expiry(redis_url: str) -> None:
    async def test() -> None:
        watched = Watched(redis_url)
        async with (
            scripted(lambda _: {}) as server,
            traced_pools(server.address, watched) as pools,
        ):
            await watched.tracer.flush()
            await send(pools, "x@d.example")
            await watched.tracer.flush()
        many = [TraceLine("deliver-1", number, 1, "<", "x") for number in range(1, MAX_KEPT * 2)]
        for start in range(0, len(many), 200):
            await append_lines(watched.client, "f" * 16, many[start : start + 200])
        await watched.client.aclose()

    run(test())
    client = connect(RedisSettings(url=redis_url))
    reader = TraceReader(client, TRACE_ID)
    found = reader.read(0.01)
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    assert "RCPT TO:<x@d.example>" in [line.text for line in found]
    assert reader.read(0.01) == []
    client.xadd(PREFIX + TRACE_ID, {"other": "\xff"})
    client.xadd(PREFIX + TRACE_ID, {"line": "[]"})
    assert reader.read(0.01) == []
    assert reader.unreadable == 2
    assert 0 < client.ttl(PREFIX + TRACE_ID) <= KEPT_S
    assert MAX_KEPT <= client.xlen(PREFIX + "f" * 16) < MAX_KEPT + 200
    for trace_id in (TRACE_ID, "f" * 16):
        TraceReader(client, trace_id).delete()
    assert client.exists(PREFIX + TRACE_ID) == 0


def test_mail_does_not_wait_for_a_redis_that_is_unavailable_and_the_loss_is_said() -> None:
    async def test() -> None:
        shown = Shown()
        may_answer = asyncio.Event()
        failing = True

        async def append(trace_id: str, lines: Sequence[TraceLine]) -> None:
            if failing:
                await may_answer.wait()
                raise StoreUnavailable("Redis: unavailable")
            shown.written += lines

        tracer = Tracer(shown.source, append, shown.clock, "deliver-0")
        shown.tracer = tracer
        now = shown.clock.now_ms()
        trace = Trace(TRACE_ID, "d.example", at_ms=now, expires_at_ms=now + 60_000)
        shown.source.traces = Traces([trace], now)
        async with scripted(lambda _: {}) as server, traced_pools(server.address, shown) as pools:
            flushing = asyncio.create_task(tracer.flush())
            await until(lambda: tracer.is_active)
            for number in range(200):
                shown.clock.go_on(0.06)  # below the limit of dialogs per second
                assert isinstance(await send(pools, f"x{number}@d.example"), Delivered)
            assert not flushing.done()
            may_answer.set()
            await flushing
        failing = False
        while written := len(shown.written) or True:
            await tracer.flush()
            if len(shown.written) == written:
                break
        numbers = [line.number for line in shown.written]
        assert len(numbers) == MAX_QUEUED + 1
        assert numbers[0] == 2, "the first line was lost with the call that failed"
        assert shown.written[-1].kind == ""
        assert numbers[-1] > MAX_QUEUED + 1

    run(test())
