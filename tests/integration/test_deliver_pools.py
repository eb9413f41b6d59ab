"""Pools against real servers: the smart sink, aiosmtpd, Postfix's smtp-sink, scripted ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from bench import smtp_sink
from services.deliver.core.attempt.results import Bounced, Deferred, Delivered, Outcome
from services.deliver.edge.pool.pools import Pools
from tests.support.pool_talk import (
    CONTENT,
    SETTINGS,
    envelope,
    patience_with,
    send,
    send_one,
    until,
    with_scripted,
)
from tests.support.scripted_smtp import CLOSE, SILENT, Script, Scripted
from tests.support.smtp_peers import Sink, running_sink


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with running_sink(tmp_path_factory.mktemp("sink")) as sink:
        yield sink


def test_a_message_is_delivered_with_the_reply_the_site_and_the_local_address(sink: Sink) -> None:
    outcome = send_one(sink.address, "ok-1@d.example")
    assert isinstance(outcome, Delivered)
    assert outcome.reply.startswith("250 2.0.0 Ok: queued as ")
    expected = Delivered(outcome.reply, "2.0.0", sink.address, "127.0.0.1", "")
    assert outcome == replace(expected, tls_policy="opportunistic")
    assert ("accepted", "ok-1@d.example") in sink.verdicts()


@pytest.mark.parametrize(
    ("recipient", "kind", "enhanced", "bounce_class"),
    [
        ("bounce-1@d.example", Bounced, "5.1.1", "hard"),
        ("policy-1@d.example", Bounced, "5.7.1", "policy"),
        ("full-1@d.example", Deferred, "4.2.2", "soft"),
        ("defer-1-a@d.example", Deferred, "4.7.1", "policy"),
    ],
)
def test_a_refusal_becomes_its_outcome(
    sink: Sink, recipient: str, kind: type[Outcome], enhanced: str, bounce_class: str
) -> None:
    outcome = send_one(sink.address, recipient)
    assert isinstance(outcome, Bounced | Deferred)
    assert type(outcome) is kind
    assert (outcome.enhanced, outcome.bounce_class) == (enhanced, bounce_class)
    assert (outcome.dispatched, outcome.in_doubt) == (True, False)
    assert outcome.reply
    assert outcome.reason


def test_a_server_slower_than_the_limit_defers_and_counts_as_dispatched() -> None:
    async def test(server: Scripted, pools: Pools) -> Outcome:
        return await send(pools, "a@d.example")

    script = {"RCPT": SILENT}
    outcome = with_scripted(lambda number: script, test, patience_with(script))
    assert isinstance(outcome, Deferred)
    assert (outcome.dispatched, outcome.in_doubt) == (True, False)
    assert outcome.bounce_class == "network"


def test_a_connection_lost_after_the_dot_is_in_doubt(sink: Sink) -> None:
    outcome = send_one(sink.address, "drop-1@d.example")
    assert isinstance(outcome, Deferred)
    assert (outcome.dispatched, outcome.in_doubt) == (True, True)
    assert isinstance(send_one(sink.address, "drop-1@d.example"), Delivered)


def test_refusals_of_a_recipient_leave_the_connection_good_for_the_next_message() -> None:
    async def test(server: Scripted, pools: Pools) -> list[Outcome]:
        return [await send(pools, f"{number}@d.example") for number in range(3)]

    script = {"RCPT2": b"550 5.1.1 unknown\r\n", "DATA2": b"554 none\r\n"}
    outcomes = with_scripted(lambda number: script, test)
    assert [type(outcome) for outcome in outcomes] == [Delivered, Bounced, Delivered]


def test_a_refused_connection_defers_and_nothing_was_dispatched() -> None:
    outcome = send_one(f"127.0.0.1:{smtp_sink.free_port()}", "a@d.example")
    assert isinstance(outcome, Deferred)
    assert (outcome.dispatched, outcome.bounce_class) == (False, "network")


def test_a_refusal_of_the_sender_is_policy_and_dispatched() -> None:
    async def test(server: Scripted, pools: Pools) -> Outcome:
        return await send(pools, "a@d.example")

    script = {"MAIL": b"550 no\r\n", "RCPT": b"503 no\r\n", "DATA": b"503 no\r\n"}
    outcome = with_scripted(lambda number: script, test)
    assert isinstance(outcome, Bounced)
    assert (outcome.dispatched, outcome.bounce_class) == (True, "policy")


def test_the_connection_is_used_again_up_to_its_number_of_messages() -> None:
    async def test(server: Scripted, pools: Pools) -> list[list[str]]:
        for number in range(7):
            assert isinstance(await send(pools, f"{number}@d.example"), Delivered)
        await pools.close()
        await until(lambda: server.open == 0)
        return server.said

    settings = replace(SETTINGS, max_messages_per_connection=3)
    said = with_scripted(lambda number: {}, test, settings)
    assert [words.count("MAIL") for words in said] == [3, 3, 1]
    assert all(words[-1] == "QUIT" for words in said)


def test_connections_are_bounded_and_messages_wait_their_turn() -> None:
    async def test(server: Scripted, pools: Pools) -> Scripted:
        sending = [send(pools, f"{number}@d.example") for number in range(200)]
        assert all(isinstance(outcome, Delivered) for outcome in await asyncio.gather(*sending))
        return server

    server = with_scripted(lambda number: {}, test, replace(SETTINGS, max_connections=4))
    assert server.most_open == 4
    assert len(server.contents) == 200


@pytest.mark.parametrize("script", [{"MAIL2": CLOSE}, {"MAIL2": b"421 4.4.2 idle\r\n"}])
def test_a_reused_connection_that_was_closed_costs_nothing(script: Script) -> None:
    async def test(server: Scripted, pools: Pools) -> Scripted:
        for number in range(3):
            assert isinstance(await send(pools, f"{number}@d.example"), Delivered)
        return server

    server = with_scripted(lambda number: script, test)
    assert server.connections == 3
    assert len(server.contents) == 3


def test_a_server_that_always_hangs_up_at_mail_is_not_tried_for_ever() -> None:
    async def test(server: Scripted, pools: Pools) -> tuple[Outcome, int]:
        return await send(pools, "a@d.example"), server.connections

    outcome, connections = with_scripted(lambda number: {"MAIL": CLOSE}, test)
    assert isinstance(outcome, Deferred)
    assert (outcome.dispatched, outcome.in_doubt) == (False, False)
    assert connections <= 2


def test_an_idle_connection_is_closed_after_its_time_with_a_quit() -> None:
    async def test(server: Scripted, pools: Pools) -> Scripted:
        assert isinstance(await send(pools, "a@d.example"), Delivered)
        await until(lambda: server.open == 0)
        return server

    server = with_scripted(lambda number: {}, test, replace(SETTINGS, idle_timeout_s=0.2))
    assert server.said[0][-1] == "QUIT"


def test_a_burst_on_a_dead_site_is_not_a_connect_a_message() -> None:
    async def test(server: Scripted, pools: Pools) -> int:
        for _ in range(20):
            sending = [send(pools, f"{number}@d.example") for number in range(50)]
            outcomes = await asyncio.gather(*sending)
            assert all(isinstance(o, Deferred) and not o.dispatched for o in outcomes)
        return server.connections

    assert with_scripted(lambda number: {"greeting": CLOSE}, test) <= SETTINGS.max_connections


def test_a_site_that_failed_for_a_moment_is_tried_again_soon() -> None:
    failing = True

    async def test(server: Scripted, pools: Pools) -> None:
        nonlocal failing
        sending = [send(pools, f"{number}@d.example") for number in range(50)]
        assert all(isinstance(outcome, Deferred) for outcome in await asyncio.gather(*sending))
        # Every connect of the burst has failed by now, not only the first.
        await until(lambda: server.connections == SETTINGS.max_connections and not server.open)
        failing = False
        while not isinstance(await send(pools, "a@d.example"), Delivered):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    with_scripted(lambda number: {"greeting": CLOSE} if failing else {}, test)


def test_a_server_that_reads_nothing_is_let_go_with_what_it_was_sent() -> None:
    content = CONTENT + (b"x" * 70 + b"\r\n") * 200_000

    async def test(server: Scripted, pools: Pools) -> tuple[Outcome, int]:
        outcome = await send(pools, "a@d.example", content)
        await until(lambda: pools.connections == 0)
        server.read_on.set()
        await until(lambda: server.open == 0)
        return outcome, server.read_bytes

    script = {"reads": SILENT}
    outcome, read_bytes = with_scripted(lambda number: script, test, patience_with(script))
    assert isinstance(outcome, Deferred)
    # The end of the content has not left this process: the server cannot have the message.
    assert (outcome.dispatched, outcome.in_doubt) == (True, False)
    assert read_bytes < len(content)


def test_a_message_that_waits_too_long_for_a_slow_site_is_deferred() -> None:
    async def test(server: Scripted, pools: Pools) -> list[Outcome]:
        first = asyncio.ensure_future(send(pools, "a@d.example"))
        await until(lambda: bool(server.said) and "DATA" in server.said[0])
        second = await send(pools, "b@d.example")
        server.close_all()
        return [await first, second]

    settings = replace(SETTINGS, max_connections=1, max_wait_s=0.2)
    first, second = with_scripted(lambda number: {"reads": SILENT}, test, settings)
    assert isinstance(first, Deferred)
    assert first.in_doubt  # its few bytes were all written
    assert isinstance(second, Deferred)
    assert (second.dispatched, second.in_doubt) == (False, False)


def test_an_answer_out_of_step_defers_and_ends_the_connection() -> None:
    async def test(server: Scripted, pools: Pools) -> tuple[Outcome, Outcome]:
        first = await send(pools, "a@d.example")
        return first, await send(pools, "b@d.example")

    script: Script = {"RCPT": b"250 ok\r\n250 ok\r\n250 ok\r\n"}
    first, second = with_scripted(lambda number: script if number == 1 else {}, test)
    assert isinstance(first, Deferred)
    assert first.dispatched
    assert isinstance(second, Delivered)


def test_a_message_that_may_not_begin_is_not_sent() -> None:
    async def test(server: Scripted, pools: Pools) -> tuple[Outcome | None, list[bytes]]:
        outcome = await pools.send(envelope("a@d.example"), CONTENT, lambda: False)
        assert isinstance(await send(pools, "b@d.example"), Delivered)
        return outcome, server.contents

    outcome, contents = with_scripted(lambda number: {}, test)
    assert outcome is None
    assert len(contents) == 1


def test_an_address_that_cannot_be_written_bounces_without_a_word() -> None:
    async def test(server: Scripted, pools: Pools) -> list[str]:
        outcome = await send(pools, "a b@d.example")
        assert isinstance(outcome, Bounced)
        assert not outcome.dispatched
        assert isinstance(await send(pools, "b@d.example"), Delivered)
        return server.said[0]

    assert with_scripted(lambda number: {}, test).count("MAIL") == 1
