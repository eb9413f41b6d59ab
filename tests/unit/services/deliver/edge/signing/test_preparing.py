"""What is passed to the pools: the signed message, and its form for a 7-bit server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.results import Delivered, Outcome
from services.deliver.edge.pool.delivery import SevenBit
from services.deliver.edge.signing.preparing import EightBit, PreparingSender
from services.deliver.edge.signing.signer import Signer
from shared.smtp.extensions import Unsendable
from shared.topics.records import Envelope, Facts, Origin
from tests.support.dkim_verifying import CONTENT, is_verified, signer_of

ALGORITHM = "ed25519-sha256"
DOMAIN = "news.shop.example"
DELIVERED = Delivered("250 Ok", "2.0.0", "site", "source", "")
EIGHT_BIT = CONTENT + " für alle\n".encode()


class Keeping:
    """A sender that records the messages."""

    def __init__(self) -> None:
        self.content = b""
        self.seven_bit: SevenBit | None = None

    async def send(
        self,
        envelope: Envelope,
        content: bytes,
        begin: Callable[[], bool],
        *,
        seven_bit: SevenBit | None = None,
    ) -> Outcome | None:
        self.content, self.seven_bit = content, seven_bit
        return DELIVERED if begin() else None


def send(
    content: bytes,
    signer: Signer | None,
    eight_bit: EightBit,
    begins: bool = True,
    sender: str = f"a@{DOMAIN}",
) -> tuple[Keeping, Outcome | None]:
    keeping = Keeping()
    sending = PreparingSender(keeping, signer, eight_bit)
    envelope = Envelope("1", "shop", sender, "b@r.example", "", 0, Origin(), Facts())
    if not sender:
        envelope = replace(envelope, forwards="1")
    with pytest.raises(StopIteration) as ended:  # it never waits here, so no loop is needed
        sending.send(envelope, content, lambda: begins).send(None)
    return keeping, ended.value.value


@pytest.mark.parametrize(("begins", "expected"), [(True, DELIVERED), (False, None)])
def test_mail_is_signed_for_the_domain_of_its_sender(
    begins: bool, expected: Outcome | None
) -> None:
    keeping, outcome = send(CONTENT, signer_of(ALGORITHM), EightBit.CONVERT, begins)
    assert outcome is expected
    assert is_verified(keeping.content, ALGORITHM, DOMAIN)


def test_forwarded_mail_is_signed_for_the_domain_of_its_from() -> None:
    content = f"From: Returned mail <postmaster@{DOMAIN}>\r\nSubject: x\r\n\r\nx\r\n".encode()
    keeping, _ = send(content, signer_of(ALGORITHM), EightBit.CONVERT, sender="")
    assert is_verified(keeping.content, ALGORITHM, DOMAIN)


def test_without_a_signer_the_content_is_passed_on_unchanged() -> None:
    keeping, _ = send(EIGHT_BIT, None, EightBit.CONVERT)
    assert keeping.content is EIGHT_BIT
    assert keeping.seven_bit is not None
    converted = keeping.seven_bit()
    assert isinstance(converted, bytes)
    assert converted.isascii()
    assert b"DKIM" not in converted


def test_the_form_for_a_7_bit_server_is_converted_before_it_is_signed() -> None:
    keeping, _ = send(EIGHT_BIT, signer_of(ALGORITHM), EightBit.CONVERT)
    assert EIGHT_BIT.splitlines()[-1] in keeping.content
    assert keeping.seven_bit is not None
    converted = keeping.seven_bit()
    assert isinstance(converted, bytes)
    assert converted.isascii()
    assert is_verified(converted, ALGORITHM, DOMAIN)


def test_what_cannot_be_converted_is_said() -> None:
    keeping, _ = send("Message-ID: <ä>\n\n".encode(), signer_of(ALGORITHM), EightBit.CONVERT)
    assert keeping.seven_bit is not None
    assert keeping.seven_bit() is Unsendable.EIGHT_BIT_HEADER


def test_with_bounce_there_is_no_form_for_a_7_bit_server() -> None:
    keeping, _ = send(EIGHT_BIT, signer_of(ALGORITHM), EightBit.BOUNCE)
    assert keeping.seven_bit is None
