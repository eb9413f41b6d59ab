"""A client's session between transactions: when RSET is sent, and each answer to RSET and QUIT."""

from __future__ import annotations

import pytest

from shared.smtp.client.session import ClientSession
from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import Extensions, Unsendable
from shared.smtp.reply import Reply
from tests.support.smtp_reading import CUTS, Cut

PIPELINING = Extensions(pipelining=True)
STEP_BY_STEP = Extensions()
CONTENT = b"Subject: x\r\n\r\nhi\r\n"
MAIL = b"MAIL FROM:<a@b>\r\n"
GROUP = MAIL + b"RCPT TO:<c@d>\r\nDATA\r\n"
OK = b"250 2.0.0 ok\r\n"
NO = b"550 no\r\n"
GO = b"354 go\r\n"
MAIL_SENT = Send(MAIL, is_content=False)


def send(session: ClientSession) -> bytes:
    written = session.send_transaction("a@b", "c@d", CONTENT)
    assert isinstance(written, bytes)
    return written


def feed(session: ClientSession, cut: Cut, data: bytes) -> list[ClientEvent]:
    return [event for part in cut(data) for event in session.receive(part)]


def after(extensions: Extensions, *reads: bytes) -> ClientSession:
    """A session after a transaction with these answers."""
    session = ClientSession(extensions)
    send(session)
    for read in reads:
        session.receive(read)
    assert session.waiting_for is None
    return session


def to_reset(extensions: Extensions) -> ClientSession:
    """A session that has sent RSET, since its recipient was refused."""
    reads = (OK + NO + NO,) if extensions.pipelining else (OK, NO)
    session = after(extensions, *reads)
    assert send(session).startswith(b"RSET\r\n")
    assert session.waiting_for is Stage.RSET
    return session


# How the transaction before ended; the server's extensions; its answers; whether RSET is sent.
ENDS = [
    ("delivered", PIPELINING, (OK + OK + GO, OK), False),
    ("refused after the content", PIPELINING, (OK + OK + GO, NO), False),
    ("DATA refused", PIPELINING, (OK + OK + NO,), True),
    ("recipient refused, DATA too", PIPELINING, (OK + NO + NO,), True),
    ("recipient refused, a dot sent", PIPELINING, (OK + NO + GO, NO), False),
    ("recipient refused, a dot accepted", PIPELINING, (OK + NO + GO, OK), False),
    ("sender refused", PIPELINING, (NO + NO + NO,), False),
    ("sender refused, a dot sent", PIPELINING, (NO + NO + GO, NO), False),
    ("delivered step by step", STEP_BY_STEP, (OK, OK, GO, OK), True),
    ("refused after the content, step by step", STEP_BY_STEP, (OK, OK, GO, NO), True),
    ("DATA refused, step by step", STEP_BY_STEP, (OK, OK, NO), True),
    ("recipient refused, step by step", STEP_BY_STEP, (OK, NO), True),
    ("sender refused, step by step", STEP_BY_STEP, (NO,), False),
]
ENDS_BY_NAME = pytest.mark.parametrize(
    ("extensions", "reads", "is_reset"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS]
)


@ENDS_BY_NAME
def test_reset_ends_an_open_transaction_and_separates_contents_that_are_sent_step_by_step(
    extensions: Extensions, reads: tuple[bytes, ...], is_reset: bool
) -> None:
    written = send(after(extensions, *reads))
    group = GROUP if extensions.pipelining else MAIL
    if is_reset:
        assert written == (b"RSET\r\n" + GROUP if extensions.pipelining else b"RSET\r\n")
    else:
        assert written == group


@ENDS_BY_NAME
def test_a_message_that_is_not_offered_leaves_the_reset_to_the_next(
    extensions: Extensions, reads: tuple[bytes, ...], is_reset: bool
) -> None:
    session = after(extensions, *reads)
    assert session.send_transaction("a@b", "c", CONTENT) is Unsendable.RECIPIENT
    assert send(session).startswith(b"RSET\r\n") is is_reset


@ENDS_BY_NAME
def test_quit_needs_no_reset(
    extensions: Extensions, reads: tuple[bytes, ...], is_reset: bool
) -> None:
    session = after(extensions, *reads)
    assert session.quit() == b"QUIT\r\n"
    assert session.waiting_for is Stage.QUIT
    assert session.receive(b"221 bye\r\n") == []
    assert session.is_closing


# The server's answer to RSET; the events without and with PIPELINING; whether the session ends.
RESETS: list[tuple[bytes, list[ClientEvent], list[ClientEvent], bool]] = [
    (OK, [MAIL_SENT], [], False),
    (b"250-a\r\n250 b\r\n", [MAIL_SENT], [], False),
    (b"220 ready\r\n", [MAIL_SENT], [], False),
    (
        b"421 4.3.2 no\r\n",
        [Finished(Stage.RSET, Reply(421, "4.3.2", "no"))],
        [Finished(Stage.RSET, Reply(421, "4.3.2", "no"))],
        True,
    ),
]


@CUTS
@pytest.mark.parametrize(("answer", "one_by_one", "pipelined", "ends"), RESETS)
def test_each_answer_to_rset_has_its_effect(
    cut: Cut,
    answer: bytes,
    one_by_one: list[ClientEvent],
    pipelined: list[ClientEvent],
    ends: bool,
) -> None:
    for extensions, expected in ((STEP_BY_STEP, one_by_one), (PIPELINING, pipelined)):
        session = to_reset(extensions)
        assert feed(session, cut, answer) == expected
        assert session.is_closing is ends
        assert session.waiting_for is (None if ends else Stage.MAIL)
        assert not session.is_answered  # the answer to RSET bills nothing


@CUTS
@pytest.mark.parametrize("extensions", [PIPELINING, STEP_BY_STEP])
@pytest.mark.parametrize("answer", [NO, b"450 no\r\n", GO, b"334 x\r\n", b"502 what\r\n", b"x\r\n"])
def test_an_answer_to_rset_that_is_out_of_step_ends_the_session(
    cut: Cut, extensions: Extensions, answer: bytes
) -> None:
    session = to_reset(extensions)
    with pytest.raises(RemoteProtocolError):
        feed(session, cut, answer)
    assert not session.is_answered
    assert not session.is_content_sent


@CUTS
@pytest.mark.parametrize(
    "answer",
    [
        b"221 bye\r\n",
        b"221-a\r\n221 b\r\n",
        OK,
        b"421 closing\r\n",
        b"450 no\r\n",
        NO,
        b"502 what\r\n",
        b"221 bye\n",
    ],
)
def test_any_answer_to_quit_ends_the_session_without_an_event(cut: Cut, answer: bytes) -> None:
    session = ClientSession(PIPELINING)
    session.quit()
    assert feed(session, cut, answer) == []
    assert session.is_closing
    assert session.waiting_for is None
    assert session.decided is None


@CUTS
@pytest.mark.parametrize("answer", [GO, b"334 x\r\n", b"hello\r\n", b"\xff\0\r\n"])
def test_an_answer_to_quit_that_is_out_of_step_is_an_error(cut: Cut, answer: bytes) -> None:
    session = ClientSession(PIPELINING)
    session.quit()
    with pytest.raises(RemoteProtocolError):
        feed(session, cut, answer)


@pytest.mark.parametrize("reads", [(), (b"221 bye\r\n",)])
def test_nothing_starts_after_quit(reads: tuple[bytes, ...]) -> None:
    session = ClientSession(PIPELINING)
    session.quit()
    for read in reads:
        session.receive(read)
    with pytest.raises(LocalProtocolError):
        send(session)


@pytest.mark.parametrize("reads", [(), (OK,), (OK + OK,), (OK + OK + GO,)])
def test_quit_is_not_sent_during_a_transaction(reads: tuple[bytes, ...]) -> None:
    session = ClientSession(PIPELINING)
    send(session)
    for read in reads:
        session.receive(read)
    with pytest.raises(LocalProtocolError):
        session.quit()
