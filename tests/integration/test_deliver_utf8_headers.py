"""Headers with raw UTF-8 to real servers that offer SMTPUTF8, only 8BITMIME, or neither."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from bench import smtp_sink
from services.deliver.core.attempt.results import Bounced, Delivered, Outcome
from services.deliver.edge.signing.preparing import EightBit, PreparingSender
from tests.support.pool_talk import envelope, pools_to, run

SUBJECT = "Grüße aus Köln"
CONTENT = (
    f"From: Müller <a@news.example.com>\r\nSubject: {SUBJECT}\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
).encode()


class Keeping:
    """A handler that keeps contents, and offers what the test says."""

    def __init__(self, lacks: str) -> None:
        self._lacks = lacks
        self.contents: list[bytes] = []

    async def handle_EHLO(
        self, _server: SMTP, session: Session, _envelope: Envelope, name: str, replies: list[str]
    ) -> list[str]:
        session.host_name = name
        return [each for each in replies if not (self._lacks and each.endswith(self._lacks))]

    async def handle_DATA(self, _server: SMTP, _session: Session, found: Envelope) -> str:
        assert isinstance(found.content, bytes)
        self.contents.append(found.content)
        return "250 2.0.0 Ok"


def send_to(lacks: str, eight_bit: EightBit, content: bytes) -> tuple[Outcome, list[bytes]]:
    async def test() -> Outcome:
        async with pools_to(f"127.0.0.1:{port}") as pools:
            sender = PreparingSender(pools, None, eight_bit)
            outcome = await sender.send(envelope("x@d.example"), content, lambda: True)
            assert outcome is not None
            return outcome

    port = smtp_sink.free_port()
    keeping = Keeping(lacks)
    options: Any = {"enable_SMTPUTF8": not lacks}
    controller = Controller(keeping, hostname="127.0.0.1", port=port, server_kwargs=options)
    controller.start()
    try:
        return run(test()), keeping.contents
    finally:
        controller.stop()


def test_a_server_with_smtputf8_gets_the_header_as_it_is() -> None:
    outcome, contents = send_to("", EightBit.CONVERT, CONTENT)
    assert isinstance(outcome, Delivered)
    assert contents == [CONTENT]


@pytest.mark.parametrize(
    ("lacks", "body"), [("SMTPUTF8", "Grüße".encode()), ("8BITMIME", b"R3LDvMOfZQ0K")]
)
def test_a_server_without_it_gets_an_encoded_header_that_says_the_same(
    lacks: str, body: bytes
) -> None:
    outcome, (content,) = send_to(lacks, EightBit.CONVERT, CONTENT)
    assert isinstance(outcome, Delivered)
    header, _, sent = content.partition(b"\r\n\r\n")
    assert header.isascii()
    assert sent.strip() == body
    found = message_from_bytes(content, policy=policy.default)
    assert found["subject"] == SUBJECT
    assert found["from"].addresses[0].display_name == "Müller"
    assert found.get_content().strip() == "Grüße"


@pytest.mark.parametrize(
    ("eight_bit", "content"),
    [
        (EightBit.BOUNCE, CONTENT),
        (EightBit.CONVERT, "Message-ID: <ü@x>\r\n".encode() + CONTENT),
    ],
)
def test_what_is_not_or_cannot_be_encoded_bounces_with_the_reason(
    eight_bit: EightBit, content: bytes
) -> None:
    outcome, contents = send_to("SMTPUTF8", eight_bit, content)
    assert isinstance(outcome, Bounced)
    assert outcome.enhanced == "5.6.7"
    assert "does not offer SMTPUTF8" in outcome.reason
    assert contents == []
