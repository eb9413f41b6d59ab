"""What a client offers to a server: parameters, and messages that the server cannot take."""

from __future__ import annotations

import pytest

from shared.smtp.client.session import ClientSession
from shared.smtp.extensions import Extensions, Unsendable
from tests.support.client_session import CONTENT, FULL, PIPELINING

UTF8 = "Subject: Grüße\r\n\r\nhi\r\n".encode()
LATIN = "Subject: Grüße\r\n\r\nhi\r\n".encode("latin-1")
BODY = "Subject: x\n\nGrüße\n".encode()


@pytest.mark.parametrize(
    ("extensions", "recipient", "content", "parameters"),
    [
        (Extensions(), "c@d", b"a\r\n\r\n", b""),
        (FULL, "c@d", b"a\r\n\r\n", b" SIZE=5"),
        (FULL, "c@d", b"a\n\n", b" SIZE=5"),
        (FULL, "c@d", b"a", b" SIZE=3"),
        (FULL, "c@d", b".a\r\n..\r\n\r\n.", b" SIZE=13"),  # without the doubled dots
        (FULL, "c@d", b"", b" SIZE=0"),
        (Extensions(size=True, size_limit_bytes=3), "c@d", b"a\r\n", b" SIZE=3"),
        (Extensions(size=True, size_limit_bytes=3), "c@d", b".", b" SIZE=3"),
        (Extensions(size=True, smtputf8=True), "c@d", UTF8, b" SIZE=24 SMTPUTF8"),
        (Extensions(eight_bit_mime=True), "c@d", LATIN, b" BODY=8BITMIME"),
        (FULL, "c@d", UTF8, b" SIZE=24 BODY=8BITMIME SMTPUTF8"),
        (FULL, "c@d", LATIN, b" SIZE=22 BODY=8BITMIME"),
        (FULL, "c@d", BODY, b" SIZE=23 BODY=8BITMIME"),
        (FULL, "ö@d", b"a\r\n", b" SIZE=3 BODY=8BITMIME SMTPUTF8"),
    ],
)
def test_parameters_are_given_where_needed_and_offered(
    extensions: Extensions, recipient: str, content: bytes, parameters: bytes
) -> None:
    written = ClientSession(extensions).send_transaction("a@b", recipient, content)
    assert isinstance(written, bytes)
    assert written.split(b"\r\n")[0] == b"MAIL FROM:<a@b>" + parameters


@pytest.mark.parametrize(
    ("sender", "recipient", "extensions", "expected"),
    [
        ("a@b> X", "c@d", FULL, Unsendable.SENDER),
        ("a@b", "c", FULL, Unsendable.RECIPIENT),
        ("a@b", "c@d\r\nDATA", FULL, Unsendable.RECIPIENT),
        ("a@b", "", FULL, Unsendable.RECIPIENT),
        ("a@b", "ö@d", PIPELINING, Unsendable.SMTPUTF8),
        ("ö@b", "c@d", PIPELINING, Unsendable.SMTPUTF8),
    ],
)
def test_what_cannot_be_offered_to_a_server_is_said_and_nothing_is_written(
    sender: str, recipient: str, extensions: Extensions, expected: Unsendable
) -> None:
    session = ClientSession(extensions)
    assert session.send_transaction(sender, recipient, CONTENT) is expected
    assert session.waiting_for is None
    assert isinstance(session.send_transaction("a@b", "c@d", CONTENT), bytes)


SMALL = Extensions(pipelining=True, size=True, size_limit_bytes=4)


@pytest.mark.parametrize(
    ("extensions", "content", "expected"),
    [
        (SMALL, b"a\r\nb", Unsendable.TOO_LARGE),
        (Extensions(eight_bit_mime=True), UTF8, Unsendable.EIGHT_BIT_HEADER),
        (Extensions(), UTF8, Unsendable.EIGHT_BIT),
        (SMALL, b"a\n\n\n", Unsendable.TOO_LARGE),
        (SMALL, b"abc", Unsendable.TOO_LARGE),
        (SMALL, b"ab", None),
        (SMALL, b"..\r\n", None),
        (Extensions(size=True), b"a" * 100_000, None),  # `SIZE` and `SIZE 0`: no limit is named
        (PIPELINING, UTF8, Unsendable.EIGHT_BIT),
        (PIPELINING, BODY, Unsendable.EIGHT_BIT),
        (Extensions(size=True), LATIN, Unsendable.EIGHT_BIT),
        (Extensions(eight_bit_mime=True), LATIN, None),
        (Extensions(smtputf8=True), BODY, None),
    ],
)
def test_content_that_a_server_does_not_take_is_not_offered(
    extensions: Extensions, content: bytes, expected: Unsendable | None
) -> None:
    session = ClientSession(extensions)
    written = session.send_transaction("a@b", "c@d", content)
    if expected is None:
        assert isinstance(written, bytes)
        return
    assert written is expected
    assert session.waiting_for is None
    assert isinstance(session.send_transaction("a@b", "c@d", b"a"), bytes)
