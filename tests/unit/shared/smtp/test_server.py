"""A server's session: dialogs read whole, byte by byte, and with trailing bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import Content, Ended, Hello, Mail, Recipient, ServerEvent
from shared.smtp.extensions import Extensions
from shared.smtp.grammar import MAX_COMMAND_BYTES
from shared.smtp.reply import Reply
from shared.smtp.server.content import MAX_OVERRUN_BYTES
from shared.smtp.server.dialog import MAX_UNREAD_BYTES, ServerOptions
from shared.smtp.server.states import State
from tests.support.server_session import ANSWERS, EHLO, ENVELOPE, Peer, accept, talk
from tests.support.smtp_reading import CUTS, Cut

TLS = ServerOptions("mx.example", Extensions(pipelining=True, starttls=True))
# The client's commands after the greeting, and the codes of the replies.
DIALOGS = [
    (EHLO, [250]),
    (b"HELO me\r\n", [250]),
    (b"EHLO\r\n", [501]),
    (b"EHLO [127.0.0.1]\r\n", [250]),
    (b"NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\n", [250, 250, 252, 214]),
    (b"MAIL FROM:<a@b>\r\n", [503]),
    (EHLO + b"RCPT TO:<a@b>\r\n", [250, 503]),
    (EHLO + b"DATA\r\n", [250, 503]),
    (EHLO + b"MAIL FROM:<a@b>\r\nDATA\r\n", [250, 250, 554]),
    (EHLO + b"MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", [250, 250, 503]),
    (EHLO + b"MAIL FROM:<a@b>\r\nRSET\r\nMAIL FROM:<a@b>\r\n", [250, 250, 250, 250]),
    (EHLO + b"MAIL FROM:<a@b>\r\nEHLO me\r\nRCPT TO:<a@b>\r\n", [250, 250, 250, 503]),
    (EHLO + b"MAIL FROM:<> SIZE=1000\r\n", [250, 250]),
    (EHLO + b"MAIL FROM:<> SIZE=1001\r\n", [250, 552]),
    (EHLO + b"MAIL FROM:<> SIZE=x\r\n", [250, 501]),
    (EHLO + b"MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\n", [250, 250]),
    (EHLO + b"MAIL FROM:<> BODY=BINARYMIME\r\n", [250, 501]),
    (EHLO + b"MAIL FROM:<> SMTPUTF8=1\r\n", [250, 501]),
    (EHLO + b"MAIL FROM:<> RET=HDRS\r\n", [250, 555]),
    (EHLO + b"MAIL FROM:<postmaster>\r\n", [250, 501]),
    (EHLO + "MAIL FROM:<ä@b>\r\n".encode(), [250, 553]),
    (EHLO + "MAIL FROM:<ä@b> SMTPUTF8\r\nRCPT TO:<ö@b>\r\n".encode(), [250, 250, 250]),
    (EHLO + "MAIL FROM:<a@b>\r\nRCPT TO:<ö@b>\r\n".encode(), [250, 250, 553]),
    (EHLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<>\r\n", [250, 250, 501]),
    (EHLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<postmaster>\r\n", [250, 250, 250]),
    (EHLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b> NOTIFY=NEVER\r\n", [250, 250, 555]),
    (EHLO + b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<a@b>\r\n" * 3, [250, 250, 250, 250, 452]),
    (EHLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA now\r\n", [250, 250, 250, 501]),
    (EHLO + ENVELOPE, [250, 250, 250, 354]),
    (EHLO + ENVELOPE + b"x\r\n.\r\n", [250, 250, 250, 354, 250]),
    (EHLO + ENVELOPE + b".\r\n", [250, 250, 250, 354, 250]),
    (EHLO + ENVELOPE + b"x\r\n.\r\n" + ENVELOPE, [250, 250, 250, 354, 250, 250, 250, 354]),
    (EHLO + ENVELOPE + b"x" * 1000 + b"\r\n.\r\n", [250, 250, 250, 354, 552]),
    (EHLO + ENVELOPE + b"x" * 998 + b"\r\n.\r\n", [250, 250, 250, 354, 250]),
    (EHLO + ENVELOPE + b"..\r\n" * 333 + b".\r\n", [250, 250, 250, 354, 250]),
    (EHLO + ENVELOPE + b"x\r\n" * 9000 + b".\r\nNOOP\r\n", [250, 250, 250, 354, 552, 250]),
    (EHLO + b"STARTTLS\r\n", [250, 502]),
    (b"BDAT 10\r\n", [502]),
    (b"AUTH PLAIN\r\n", [502]),
    (b"\r\n", [500]),
    (b"NOOP \xff\r\n", [500]),
    (b"FOO\r\n" * 4, [500, 500, 500, 421]),
    (b"QUIT\r\n", [221]),
    (b"NOOP x\n", [521]),
    (b"NOOP\r\nNOOP\nQUIT\r\n", [250, 521]),
    (b"GET / HTTP/1.1\r\n", [521]),
    (b"NOOP " + b"x" * MAX_COMMAND_BYTES, [500, 421]),
    (b"NOOP " + b"x" * (MAX_COMMAND_BYTES - 7) + b"\r\n", [250]),
]


@CUTS
@pytest.mark.parametrize(("said", "codes"), DIALOGS)
def test_a_dialog_is_answered(cut: Cut, said: bytes, codes: list[int]) -> None:
    assert talk(cut, said).codes == codes


@CUTS
@pytest.mark.parametrize(("said", "codes"), DIALOGS)
def test_half_a_command_behind_a_dialog_changes_nothing(
    cut: Cut, said: bytes, codes: list[int]
) -> None:
    assert talk(cut, said + b"QUI").codes == codes


ENDS = [b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r"]


@CUTS
@pytest.mark.parametrize("false_end", ENDS[1:])
def test_only_crlf_dot_crlf_ends_a_message(cut: Cut, false_end: bytes) -> None:
    smuggled = b"x" + false_end + b"MAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\nDATA\r\ny"
    peer = talk(cut, EHLO + ENVELOPE + smuggled + b"\r\n.\r\n")
    assert peer.codes == [250, 250, 250, 354, 550]
    assert [event.sender for event in peer.events if isinstance(event, Mail)] == ["a@b.example"]


@CUTS
def test_a_message_comes_with_its_envelope_and_its_dots_unstuffed(cut: Cut) -> None:
    peer = talk(cut, EHLO + ENVELOPE + b"..a\r\n...\r\nb.\r\n.\r\nQUIT\r\n")
    assert peer.events[-2:] == [
        Content("a@b.example", ("c@d.example",), b".a\r\n..\r\nb.\r\n", 12),
        Ended("it sent QUIT"),
    ]


def test_an_event_that_waits_holds_back_the_next_one_and_reading() -> None:
    peer = Peer()
    peer.greet()
    session = peer.session
    session.receive(EHLO + ENVELOPE)
    assert session.wants_data
    hello = session.next_event()
    assert isinstance(hello, Hello)
    assert session.next_event() is None
    assert not session.wants_data
    session.answer(Reply(250))
    assert isinstance(session.next_event(), Mail)


def test_a_refused_recipient_is_no_recipient() -> None:
    def policy(event: ServerEvent) -> Reply:
        is_bad = isinstance(event, Recipient) and event.address.startswith("bad")
        return Reply(550, "5.1.1", "Unknown") if is_bad else accept(event)

    peer = Peer(policy=policy)
    peer.greet()
    peer.receive(EHLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<bad@b>\r\nDATA\r\n")
    assert peer.codes == [250, 250, 550, 554]
    peer.receive(b"RCPT TO:<ok@b>\r\nDATA\r\nx\r\n.\r\n")
    assert peer.codes[4:] == [250, 354, 250]
    last = peer.events[-1]
    assert isinstance(last, Content)
    assert last.recipients == ("ok@b",)


def test_a_421_of_the_policy_ends_the_session() -> None:
    peer = Peer(policy=lambda event: Reply(421, "4.3.2", "Later"))
    peer.greet()
    peer.receive(EHLO + EHLO)
    assert peer.codes == [421]
    assert peer.events[-1] == Ended("the policy ended it")


def test_who_speaks_before_the_greeting_is_refused() -> None:
    peer = Peer()
    peer.session.receive(b"EHLO me\r\n")
    assert peer.session.next_event() is None
    peer.session.greet(Reply(220, "", "mx"))
    peer.run()
    assert peer.codes == [554]
    assert isinstance(peer.events[-1], Ended)


def test_a_greeting_that_refuses_ends_the_session() -> None:
    peer = Peer()
    peer.session.greet(Reply(421, "4.7.0", "Too many connections"))
    peer.run()
    assert peer.output == b"421 4.7.0 Too many connections\r\n"
    assert isinstance(peer.events[-1], Ended)


def test_starttls_forgets_everything_said_before_it() -> None:
    peer = Peer(TLS)
    peer.greet()
    peer.receive(EHLO)
    assert b"STARTTLS" in peer.output
    peer.receive(b"STARTTLS\r\n")
    assert peer.session.state is State.TLS
    assert not peer.session.wants_data
    peer.session.tls_started()
    peer.output = b""
    peer.receive(b"MAIL FROM:<a@b>\r\n" + EHLO + b"STARTTLS\r\n")
    assert peer.codes == [503, 250, 502]
    assert b"STARTTLS\r\n" not in peer.output


@CUTS
def test_commands_behind_starttls_in_plain_text_are_never_carried_out(cut: Cut) -> None:
    peer = talk(cut, EHLO + b"STARTTLS\r\n" + b"MAIL FROM:<evil@b>\r\n", TLS)
    assert not any(isinstance(event, Mail) for event in peer.events)
    if peer.session.state is State.TLS:  # the injected bytes arrived after our 220
        with pytest.raises(LocalProtocolError):
            peer.session.tls_started()
    else:
        assert peer.codes == [250, 421]


def test_a_message_without_end_is_dropped_as_it_comes_and_then_cut_off() -> None:
    peer = Peer()
    peer.greet()
    peer.receive(EHLO + ENVELOPE)
    for _ in range(MAX_OVERRUN_BYTES // 1_000_000 + 2):
        peer.receive(b"x" * 1_000_000)
    assert peer.codes[-1] == 552
    assert isinstance(peer.events[-1], Ended)


def test_what_is_sent_ahead_of_answers_is_bounded() -> None:
    peer = Peer()
    peer.greet()
    peer.session.receive(EHLO)
    assert isinstance(peer.session.next_event(), Hello)
    peer.session.receive(b"NOOP\r\n" * (MAX_UNREAD_BYTES // 6 + 1))
    peer.run()
    assert peer.codes == [421]


def test_content_that_must_be_refused_cannot_be_accepted() -> None:
    peer = Peer(policy=lambda event: ANSWERS[type(event)])
    peer.greet()
    with pytest.raises(LocalProtocolError):
        peer.receive(EHLO + ENVELOPE + b"a\nb\r\n.\r\n")


def test_the_line_rules_are_options() -> None:
    lax = ServerOptions("mx", refuse_bare_line_ends=False)
    strict = ServerOptions("mx", max_text_line_bytes=100)
    for options, content, code in (
        (lax, b"a\nb\r\n", 250),
        (strict, b"x" * 98 + b"\r\n", 250),
        (strict, b"x" * 99 + b"\r\n", 550),
    ):
        peer = Peer(options)
        peer.greet()
        peer.receive(EHLO + ENVELOPE + content + b".\r\n")
        assert peer.codes[-1] == code


_WORDS = st.sampled_from([
    b"EHLO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"RSET", b"QUIT", b"NOOP", b".",
    b"\r\n", b"\n", b"\r", b"x", b" ", b"\0", b"\xff", b"STARTTLS", b"\r\n.\r\n",
    b"BDAT 9 LAST\r\n", b"DATA\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", b"\x16", b"y" * 2048,
])  # fmt: skip


@settings(max_examples=300)
@given(st.lists(_WORDS, max_size=40), st.integers(1, 9))
def test_however_it_is_cut_a_dialog_has_the_same_answers(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)

    def by_size(whole: bytes) -> list[bytes]:
        return [whole[at : at + size] for at in range(0, len(whole), size)]

    one = talk(lambda data: iter([data]), data)
    other = talk(lambda data: iter(by_size(data)), data)
    assert one.output == other.output
    assert one.events == other.events
