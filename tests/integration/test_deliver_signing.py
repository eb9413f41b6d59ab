"""Signed mail through the pools to servers with and without 8BITMIME, and a foreign verifier."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from msgspec.structs import replace

from bench import smtp_sink
from services.deliver.core.attempt.results import Bounced, Delivered, Outcome
from services.deliver.edge.pool.pools import Pools
from services.deliver.edge.signing.preparing import EightBit, PreparingSender
from tests.messages import load
from tests.support.dkim_verifying import ALGORITHMS, is_verified, signer_of
from tests.support.pool_talk import envelope, pools_to, run, with_scripted
from tests.support.scripted_smtp import Scripted

SAMPLES = tuple(sample for sample in load() if sample.accepted)


class Keeping:
    """An aiosmtpd handler that records the content after DATA."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.contents.append(envelope.original_content)
        return "250 2.0.0 Ok"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_server_received_is_verified(algorithm: str) -> None:
    keeping = Keeping()
    controller = Controller(keeping, hostname="127.0.0.1", port=smtp_sink.free_port())
    controller.start()
    try:

        async def test() -> None:
            async with pools_to(f"{controller.hostname}:{controller.port}") as pools:
                sending = PreparingSender(pools, signer_of(algorithm), EightBit.CONVERT)
                for sample in SAMPLES:
                    sender = f"a@{sample.client.sending_domain}"
                    onward = replace(envelope("b@d.example"), sender=sender)
                    outcome = await sending.send(onward, sample.content, lambda: True)
                    assert isinstance(outcome, Delivered), (sample.name, outcome)

        run(test())
    finally:
        controller.stop()
    assert len(keeping.contents) == len(SAMPLES)
    for sample, content in zip(SAMPLES, keeping.contents, strict=True):
        assert is_verified(content, algorithm, sample.client.sending_domain), sample.name


BODY = "From: a@news.example.com\r\n\r\nGrüße an alle Leser in Köln\r\n".encode()
HEADER = "From: a@news.example.com\r\nSubject: Grüße\r\n\r\na\r\n".encode()
EXTENSIONS = {"7 bit": b"", "8 bit": b"250-8BITMIME\r\n"}


def send_to(extensions: str, content: bytes, eight_bit: EightBit) -> tuple[Outcome, list[bytes]]:
    """The outcome at a scripted server, and the contents that it received."""

    async def test(server: Scripted, pools: Pools) -> tuple[Outcome, list[bytes]]:
        sending = PreparingSender(pools, signer_of("ed25519-sha256"), eight_bit)
        outcome = await sending.send(envelope("b@d.example"), content, lambda: True)
        assert outcome is not None
        return outcome, server.contents

    ehlo = b"250-x\r\n%b250 PIPELINING\r\n" % EXTENSIONS[extensions]
    return with_scripted(lambda number: {"EHLO": ehlo}, test)


@pytest.mark.parametrize(
    ("extensions", "eight_bit", "is_converted"),
    [
        ("7 bit", EightBit.CONVERT, True),
        ("8 bit", EightBit.CONVERT, False),
        ("8 bit", EightBit.BOUNCE, False),
    ],
)
def test_8_bit_text_arrives_in_the_form_that_the_server_takes_with_a_valid_signature(
    extensions: str, eight_bit: EightBit, is_converted: bool
) -> None:
    outcome, contents = send_to(extensions, BODY, eight_bit)
    assert isinstance(outcome, Delivered)
    assert contents[0].isascii() is is_converted
    assert is_verified(contents[0], "ed25519-sha256", "news.example.com")
    received = message_from_bytes(contents[0]).get_payload(decode=True)
    assert received == BODY.partition(b"\r\n\r\n")[2]


def test_a_header_in_utf_8_arrives_encoded_with_a_valid_signature() -> None:
    outcome, contents = send_to("7 bit", HEADER, EightBit.CONVERT)
    assert isinstance(outcome, Delivered)
    assert contents[0].isascii()
    assert is_verified(contents[0], "ed25519-sha256", "news.example.com")
    received = message_from_bytes(contents[0], policy=policy.SMTP)
    assert received["Subject"] == "Grüße"


@pytest.mark.parametrize(
    ("content", "enhanced"),
    [(BODY, "5.6.3"), (HEADER, "5.6.3")],
)
def test_8_bit_text_that_is_not_converted_bounces_and_is_not_offered(
    content: bytes, enhanced: str
) -> None:
    outcome, contents = send_to("7 bit", content, EightBit.BOUNCE)
    assert isinstance(outcome, Bounced)
    assert (outcome.enhanced, outcome.dispatched, contents) == (enhanced, False, [])
    assert "8BITMIME" in outcome.reason
