"""When a server's session ends at a limit, or no longer trusts the end of a message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.smtp.buffer import Buffer, NoLine
from shared.smtp.content import encode_content, has_only_crlf
from shared.smtp.events import Content, Data, Mail, ServerEvent
from shared.smtp.grammar import MAX_COMMAND_BYTES
from shared.smtp.reply import Reply
from shared.smtp.server.content import ContentReader
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.refusals import AbuseLimits
from tests.support.server_session import EHLO, ENVELOPE, Peer, accept, talk
from tests.support.smtp_reading import CUTS, Cut

SMALL = ServerOptions("mx.example", max_content_bytes=30, max_errors=2, max_idle_commands=4)
MAIL = b"MAIL FROM:<evil@b>\r\n"
BDAT = b"BDAT 9\r\n"
TAKEN = ENVELOPE + b".\r\nNOOP\r\nNOOP\r\nFOO\r\n"
TOO_LONG = b"x" * MAX_COMMAND_BYTES + b"\r\n"

# The client's commands after the greeting, and the codes of the replies.
DESYNCED = [
    (EHLO + ENVELOPE + b"a\nb\r\n.\r\n" + MAIL, [250, 250, 250, 354, 550, 421]),
    (EHLO + ENVELOPE + b"a\r\r\n.\r\nRSET\r\nEHLO x\r\n", [250, 250, 250, 354, 550, 250, 421]),
    (EHLO + ENVELOPE + b"a\r\r\n.\r\nNOOP\r\nQUIT\r\n", [250, 250, 250, 354, 550, 250, 221]),
    (EHLO + ENVELOPE + b"x" * 99 + b"\r\r\n.\r\n" + MAIL, [250, 250, 250, 354, 552, 421]),
    (EHLO + ENVELOPE + b"x" * 99 + b"\r\n.\r\n" + MAIL, [250, 250, 250, 354, 552, 250]),
    (EHLO + ENVELOPE + b"a\0b\r\n.\r\n" + MAIL, [250, 250, 250, 354, 550, 250]),
    (EHLO + BDAT + MAIL, [250, 502, 421]),
    (EHLO + BDAT + b"RSET\r\n" + MAIL, [250, 502, 250, 421]),
    (EHLO + MAIL + b"DATA\r\nSubject: x\r\n" + MAIL, [250, 250, 554, 500, 421]),
    (EHLO + MAIL + b"DATA x\r\nSubject: x\r\n" + MAIL, [250, 250, 554, 500, 421]),
    (EHLO + MAIL + b"DATA\r\n" + TOO_LONG + MAIL, [250, 250, 554, 500, 421]),
    (EHLO + MAIL + b"DATA\r\nRSET\r\nXYZZY\r\n" + MAIL, [250, 250, 554, 250, 500, 250]),
    (EHLO + b"DATA\r\nNOOP\r\n" + MAIL, [250, 503, 250, 250]),
]
IMPATIENT = [
    # Idle commands and errors, and what resets their counts.
    (EHLO + b"NOOP\r\n" * 4, [250, 250, 250, 250, 421]),
    (EHLO + b"NOOP\r\nRSET\r\nHELP\r\nVRFY x\r\n", [250, 250, 250, 214, 421]),
    (EHLO + b"FOO\r\n" * 3, [250, 500, 500, 421]),
    (EHLO + TAKEN * 3, [250, *[250, 250, 354, 250, 250, 250, 500] * 3]),
    # A line that is too long ends the session, so its rest is no command.
    (TOO_LONG + EHLO, [500, 421]),
    (b"x" * MAX_COMMAND_BYTES + MAIL + EHLO, [500, 421]),
    (b"x" * MAX_COMMAND_BYTES, [500, 421]),
    (b"x" * (MAX_COMMAND_BYTES - 1) + b"\r\n" + EHLO, [500, 421]),
    (b"x" * (MAX_COMMAND_BYTES - 2) + b"\r\n" + EHLO, [500, 250]),
    (b"\x16\x03\x01", [521]),
]  # fmt: skip


@CUTS
@pytest.mark.parametrize(("said", "codes"), DESYNCED)
def test_after_what_may_be_content_there_is_no_more_mail(
    cut: Cut, said: bytes, codes: list[int]
) -> None:
    peer = talk(cut, said, ServerOptions("mx.example", max_content_bytes=60))
    assert peer.codes == codes


@CUTS
@pytest.mark.parametrize(("said", "codes"), IMPATIENT)
def test_patience_ends(cut: Cut, said: bytes, codes: list[int]) -> None:
    assert talk(cut, said, SMALL).codes == codes


@CUTS
@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (EHLO + ENVELOPE + b".\r\n", 0),
        (EHLO + b"FOO\r\nMAIL FROM:x\r\nRCPT TO:<a@b>\r\n", 3),
        (EHLO + MAIL + b"RCPT TO:<>\r\nDATA\r\n", 1),
        (b"MAIL FROM:<a@b>\r\n" + EHLO + b"AUTH PLAIN AGEAYg==\r\n", 2),
        (EHLO + ENVELOPE + b"a\0b\r\n.\r\n", 0),
    ],
    ids=["none", "syntax and order", "DATA behind a refused RCPT", "before EHLO", "a message"],
)
def test_refused_commands_are_counted_and_messages_are_not(
    cut: Cut, said: bytes, refused: int
) -> None:
    assert talk(cut, said).session.refused == refused


def test_data_that_the_policy_refuses_is_followed_by_commands_only() -> None:
    def policy(event: ServerEvent) -> Reply:
        return Reply(451, "4.3.1", "Full") if isinstance(event, Data) else accept(event)

    for behind, codes in ((b"From: x\r\n" + MAIL, [500, 421]), (b"RSET\r\n" + MAIL, [250, 250])):
        peer = Peer(policy=policy)
        peer.greet()
        peer.receive(EHLO + ENVELOPE + behind)
        assert peer.codes == [250, 250, 250, 451, *codes]


@CUTS
@pytest.mark.parametrize("limit", [0, 3])
def test_limits_of_zero_are_none(cut: Cut, limit: int) -> None:
    options = ServerOptions("mx.example", max_idle_commands=limit)
    codes = talk(cut, EHLO + b"NOOP\r\n" * 500, options).codes
    assert codes == ([250] * 501 if not limit else [250, 250, 250, 421])


def test_patience_is_renewed_by_a_message_and_for_errors_only_by_an_accepted_one() -> None:
    patience = AbuseLimits(max_errors=1, max_idle=1)
    assert patience.count_error()
    assert patience.count_idle()
    assert not patience.count_idle()
    patience.renew(is_accepted=False)
    assert patience.count_idle()
    assert not patience.count_error()
    patience.renew(is_accepted=True)
    assert patience.count_error()


_PARTS = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"x" * 7]), max_size=30)


@settings(max_examples=300)
@given(_PARTS, st.integers(1, 9), st.integers(0, 40))
def test_line_ends_are_judged_alike_whether_content_is_kept_or_dropped(
    parts: list[bytes], size: int, limit: int
) -> None:
    content = b"".join(parts) + b"\r\n"
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    buffer = Buffer()
    incoming = ContentReader(Data("a@b", ("c@d",)), ServerOptions("mx", max_content_bytes=limit))
    found = None
    encoded = stuffed + b".\r\n"
    for at in range(0, len(encoded), size):
        buffer.add(encoded[at : at + size])
        found = incoming.take(buffer)
        assert (found is None) == (at + size < len(encoded))
    assert isinstance(found, Content)
    assert incoming.is_doubtful == (not has_only_crlf(content))
    assert (found.refusal is None) == (len(content) <= limit and not incoming.is_doubtful)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_a_line_that_is_too_long_is_told_however_it_is_cut(rest: bytes, size: int) -> None:
    buffer = Buffer()
    data = b"y" * 10 + rest + b"\r\n"
    for at in range(0, len(data), size):
        buffer.add(data[at : at + size])
        if (line := buffer.take_line(10)) is not NoLine.INCOMPLETE:
            break
    assert line is NoLine.TOO_LONG


def test_what_encode_content_makes_is_never_doubtful() -> None:
    for content in (b"a\n.\nb", b"a\r.\rb", b"\r\r\n.\r\n"):
        peer = Peer()
        peer.greet()
        peer.receive(EHLO + ENVELOPE + encode_content(content) + MAIL)
        assert peer.codes[-2:] == [250, 250]
        assert isinstance(peer.events[-1], Mail)
