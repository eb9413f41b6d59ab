"""Servers with odd replies: each affects only its own message."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.plan import Timing, plan
from services.deliver.core.attempt.results import Bounced, Deferred, Delivered, Outcome
from services.deliver.edge.attempt.attempt_records import records_of
from services.deliver.edge.pool.pools import Pools
from tests.support.pool_talk import (
    CONTENT,
    SETTINGS,
    envelope,
    pools_to,
    run,
    send,
    until,
    with_scripted,
)
from tests.support.scripted_smtp import CLOSE, SILENT, Script, Scripted, scripted

LATIN_1 = "554 Accès refusé\r\n".encode("latin-1")
GBK = "421 服务不可用\r\n".encode("gbk")
TLS_OFFERED = b"250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n"


def outcome_of(script: Script, **changes: float) -> Outcome:
    async def test(_: Scripted, pools: Pools) -> Outcome:
        return await send(pools, "a@d.example")

    if SILENT in script.values():
        changes = {"command_s": 2.0, **changes}
    settings = replace(SETTINGS, timeouts=replace(SETTINGS.timeouts, **changes))
    return with_scripted(lambda number: script, test, settings)


@pytest.mark.parametrize(
    "script",
    [
        {"greeting": LATIN_1},
        {"greeting": GBK},
        {"greeting": b"\xff\xfe\x00\r\n"},
        {"greeting": b"220 \x1b]0;hi\x07\r\n", "MAIL": GBK},
        {"EHLO": LATIN_1, "HELO": LATIN_1},
        {"MAIL": LATIN_1, "DATA": b"554 none\r\n"},
        {"RCPT": LATIN_1, "DATA": b"554 none\r\n"},
        {"DATA": LATIN_1},
        {"dot": LATIN_1},
    ],
    ids=["greeting", "421", "no text", "escapes", "EHLO", "MAIL", "RCPT", "DATA", "dot"],
)
def test_words_in_any_encoding_become_events_that_can_be_written(script: Script) -> None:
    outcome = outcome_of(script)
    assert not isinstance(outcome, Delivered)
    steps = plan(envelope("a@d.example"), outcome, Timing(0))
    for output in records_of(steps, envelope("a@d.example"), CONTENT):
        if output.topic == "mail.events":
            assert output.value is not None
            msgspec.json.decode(output.value)
            assert not {b"\x1b", b"\x00"} & {bytes([byte]) for byte in output.value}


def test_a_server_that_speaks_latin_1_holds_up_nobody_else() -> None:
    async def test() -> list[Outcome]:
        async with (
            scripted(lambda number: {"greeting": LATIN_1}) as odd,
            scripted(lambda number: {}) as good,
            pools_to(good.address) as pools,
            pools_to(odd.address) as others,
        ):
            sends = [send(pools, f"{number}@good.example") for number in range(20)]
            sends += [send(others, f"{number}@odd.example") for number in range(20)]
            return list(await asyncio.gather(*sends))

    kinds = [type(outcome) for outcome in run(test())]
    assert kinds == [Delivered] * 20 + [Deferred] * 20


@pytest.mark.parametrize(
    "end", [CLOSE, SILENT, b"\xff\xfejunk\r\n"], ids=["closes", "silent", "junk"]
)
@pytest.mark.parametrize(
    ("step", "reply", "enhanced", "bounce_class"),
    [
        ("RCPT", b"550 5.1.1 no such user\r\n", "5.1.1", "hard"),
        ("MAIL", b"550 5.7.1 you are blocked\r\n", "5.7.1", "policy"),
    ],
)
def test_a_refusal_that_was_heard_is_the_outcome_whatever_comes_at_data(
    step: str, reply: bytes, enhanced: str, bounce_class: str, end: bytes
) -> None:
    script = {step: reply, "DATA": end}
    if step == "MAIL":
        script["RCPT"] = b"503 5.5.1 no sender\r\n"
    outcome = outcome_of(script)
    assert isinstance(outcome, Bounced)
    assert (outcome.enhanced, outcome.bounce_class) == (enhanced, bounce_class)


@pytest.mark.parametrize(
    ("dot", "kind"),
    [
        (b"250 2.0.0 ok\r\n250 2.0.0 unasked\r\n", Delivered),
        (b"250 2.0.0 queued as 1\n", Delivered),
        (b"250-queued\r\nas number 1\r\n250 bye\r\n", Delivered),
        (b"250-one\r\n251 two\r\n", Delivered),
        (b"250-x\r\n" * 200 + b"250 end\r\n", Delivered),
        (b"250 " + b"x" * 5_000 + b"\r\n", Delivered),
        (b"550-no\r\nreason\r\n550 5.7.1 bye\r\n", Bounced),
    ],
    ids=["unasked line", "LF", "no code", "two codes", "many lines", "long line", "refused"],
)
def test_an_odd_but_clear_reply_to_the_content_is_the_outcome(
    dot: bytes, kind: type[Outcome]
) -> None:
    assert isinstance(outcome_of({"dot": dot}), kind)


@pytest.mark.parametrize(
    "refusal",
    [b"530 5.7.0 Must issue a STARTTLS command first\r\n", b"550 5.7.10 must issue STARTTLS\r\n"],
)
@pytest.mark.parametrize(
    "starttls",
    [b"454 4.7.0 TLS not available\r\n", b"220 go\r\nnot TLS\r\n"],
    ids=["refused", "broken"],
)
def test_a_server_whose_tls_fails_and_who_wants_tls_defers_with_the_fault_named(
    starttls: bytes, refusal: bytes
) -> None:
    script = {
        "EHLO": TLS_OFFERED,
        "STARTTLS": starttls,
        "MAIL": refusal,
        "RCPT": b"503 x\r\n",
        "DATA": b"503 x\r\n",
    }
    outcome = outcome_of(script)
    assert isinstance(outcome, Deferred)
    assert "TLS failed" in outcome.reason
    assert outcome.reply.startswith(refusal[:3].decode())


def test_an_ehlo_that_was_refused_is_the_reason_also_where_helo_is_not_answered() -> None:
    outcome = outcome_of({"EHLO": b"550 5.7.1 go away\r\n", "HELO": CLOSE})
    assert isinstance(outcome, Deferred)
    assert outcome.reply == "550 5.7.1 go away"


def test_the_greeting_has_a_time_limit_of_its_own() -> None:
    outcome = outcome_of({"greeting": SILENT}, connect_s=300.0, greeting_s=0.3)
    assert isinstance(outcome, Deferred)
    assert not outcome.dispatched


def test_the_client_closes_after_the_answer_to_quit() -> None:
    async def test(server: Scripted, pools: Pools) -> None:
        await send(pools, "a@d.example")
        await until(lambda: server.said[0][-1:] == ["QUIT"])
        assert server.open == 1, "closed before the answer"
        server.may_answer.set()
        await until(lambda: server.open == 0)

    settings = replace(SETTINGS, idle_timeout_s=0.1)
    with_scripted(lambda number: {"waits": b"QUIT"}, test, settings)


def test_a_server_that_never_answers_quit_is_closed_all_the_same() -> None:
    async def test(server: Scripted, pools: Pools) -> None:
        await send(pools, "a@d.example")
        await until(lambda: server.open == 0)

    with_scripted(lambda number: {"waits": b"QUIT"}, test, replace(SETTINGS, idle_timeout_s=0.1))
