"""A client's session: what it writes, and which reply belongs to which command."""

from __future__ import annotations

from contextlib import suppress

import pytest

from shared.smtp.client.session import ClientSession
from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply
from tests.support.client_session import (
    CONTENT,
    GO,
    GROUP,
    LONE_DOT,
    OK,
    PIPELINING,
    SEND,
    begin,
    feed,
    finished,
)
from tests.support.smtp_reading import CUTS, Cut

# The server's replies to the pipelined group, the events, the bytes before the next MAIL.
GROUPS: list[tuple[bytes, list[ClientEvent], bytes]] = [
    (OK + OK + GO, [SEND], b""),
    (OK + OK + GO + OK, [SEND, Finished(Stage.CONTENT, Reply(250, "2.0.0", "ok"))], b""),
    (OK + OK + GO + b"550 no\r\n", [SEND, finished(Stage.CONTENT, 550)], b""),
    (OK + OK + GO + b"451 no\r\n", [SEND, finished(Stage.CONTENT, 451)], b""),
    # The recipient and DATA are refused: the sender is still set.
    (OK + b"550 no\r\n554 none\r\n", [finished(Stage.RCPT, 550)], b"RSET\r\n"),
    (OK + b"450 no\r\n503 none\r\n", [finished(Stage.RCPT, 450)], b"RSET\r\n"),
    # The recipient is refused, but 354 arrives: a single dot ends the transaction.
    (OK + b"550 no\r\n" + GO, [LONE_DOT], b""),
    (OK + b"550 no\r\n" + GO + b"554 none\r\n", [LONE_DOT, finished(Stage.RCPT, 550)], b""),
    (OK + b"550 no\r\n" + GO + OK, [LONE_DOT, finished(Stage.RCPT, 550)], b""),
    (b"550 no\r\n503 x\r\n503 x\r\n", [finished(Stage.MAIL, 550)], b""),
    (b"550 no\r\n503 x\r\n" + GO + b"554 x\r\n", [LONE_DOT, finished(Stage.MAIL, 550)], b""),
    (OK + OK + b"451 no\r\n", [finished(Stage.DATA, 451)], b"RSET\r\n"),
    (OK + b"251 will forward\r\n" + GO, [SEND], b""),
    (b"250-2.1.0 a\r\n250 2.1.0 b\r\n" + OK + GO, [SEND], b""),
    # Bare line feeds in all replies.
    (b"250 ok\n550 no\n554 none\n", [finished(Stage.RCPT, 550)], b"RSET\r\n"),
]
CLOSING: list[tuple[bytes, list[ClientEvent]]] = [
    (b"421 no\r\n", [finished(Stage.MAIL, 421)]),
    (b"421 no\r\n421 again\r\n503 x\r\n", [finished(Stage.MAIL, 421)]),
    (OK + b"421 no\r\n", [finished(Stage.RCPT, 421)]),
    (OK + b"550 no\r\n421 x\r\n", [finished(Stage.RCPT, 550)]),
    (OK + OK + b"421 no\r\n", [finished(Stage.DATA, 421)]),
    (OK + OK + GO + b"421 no\r\n", [SEND, finished(Stage.CONTENT, 421)]),
]
OUT_OF_STEP = [
    b"354 go\r\n",
    b"334 x\r\n",
    OK + b"354 go\r\n",
    OK + OK + OK,
    OK + OK + b"355 x\r\n",
    OK + OK + GO + GO,
    b"hello\r\n",
    # A reply hidden behind a bare LF is one too many: it answers DATA.
    OK + b"250 ok\n250 more\r\n",
]


def test_a_transaction_leaves_in_one_write() -> None:
    session = ClientSession(PIPELINING)
    assert session.send_transaction("a@b", "c@d", CONTENT) == GROUP
    assert session.waiting_for is Stage.MAIL


@CUTS
@pytest.mark.parametrize(("answers", "events", "reset"), GROUPS)
def test_answers_to_a_group_are_told_apart(
    cut: Cut, answers: bytes, events: list[ClientEvent], reset: bytes
) -> None:
    session = begin()
    assert feed(session, cut, answers) == events
    if isinstance(events[-1], Finished):
        assert session.waiting_for is None
        assert session.send_transaction("a@b", "c@d", CONTENT) == reset + GROUP
        answers = (OK if reset else b"") + OK + OK + GO + OK
        expected = [SEND, Finished(Stage.CONTENT, Reply(250, "2.0.0", "ok"))]
        assert feed(session, cut, answers) == expected


@CUTS
@pytest.mark.parametrize(("answers", "events"), CLOSING)
def test_a_421_ends_transaction_and_session(
    cut: Cut, answers: bytes, events: list[ClientEvent]
) -> None:
    session = begin()
    assert feed(session, cut, answers) == events
    assert session.is_closing
    assert session.is_answered
    with pytest.raises(LocalProtocolError):
        session.send_transaction("a@b", "c@d", CONTENT)


@CUTS
@pytest.mark.parametrize("answers", OUT_OF_STEP)
def test_an_answer_out_of_step_ends_the_session(cut: Cut, answers: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        feed(begin(), cut, answers)


# Data after the reply that ends a transaction ends the session, and changes nothing.
BEHIND_THE_END: list[tuple[bytes, Stage, int]] = [
    (OK + OK + GO + b"250 ok\r\n250 again\r\n", Stage.CONTENT, 250),
    (OK + OK + GO + b"250 ok\r\n25", Stage.CONTENT, 250),
    (OK + OK + GO + b"250 ok\r\n\xff\0\r\n", Stage.CONTENT, 250),
    (OK + OK + GO + b"554 spam\r\n220 hello\r\n", Stage.CONTENT, 554),
    (OK + b"550 no\r\n554 none\r\n250 x\r\n", Stage.RCPT, 550),
]


@pytest.mark.parametrize(("answers", "stage", "code"), BEHIND_THE_END)
def test_what_comes_behind_the_last_answer_ends_only_the_session(
    answers: bytes, stage: Stage, code: int
) -> None:
    session = begin()
    head, _, tail = answers.partition(GO)
    events = session.receive(head + GO) if tail else []
    events += session.receive(tail or head)
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.stage, last.reply.code) == (stage, code)
    assert session.is_closing


@CUTS
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (OK + b"550 no\r\n", finished(Stage.RCPT, 550)),
        (OK + b"450 no\r\n", finished(Stage.RCPT, 450)),
        (b"550 no\r\n", finished(Stage.MAIL, 550)),
        (b"550 no\r\n503 x\r\n", finished(Stage.MAIL, 550)),
        (OK + b"550 no\r\n" + GO, finished(Stage.RCPT, 550)),
        (OK + b"550 no\r\njunk\r\n", finished(Stage.RCPT, 550)),
        (OK, None),
        (OK + OK, None),
        (OK + OK + GO, None),
    ],
)
def test_a_refusal_that_was_heard_has_decided_whatever_becomes_of_the_connection(
    cut: Cut, answers: bytes, expected: Finished | None
) -> None:
    session = begin()
    with suppress(RemoteProtocolError):
        feed(session, cut, answers)
    assert session.decided == expected


# The replies to the transaction after a content, of which the first answers the content once more;
# the outcome, or None if the message has none.
SECOND_REPLIES: list[tuple[bytes, Finished | None]] = [
    (b"550 late\r\n", None),
    (b"550 late\r\n" + OK, None),
    (b"550 late\r\n" + OK + OK, None),
    (b"550 late\r\n" + OK + b"550 no\r\n", None),
    (b"550 late\r\n" + OK + b"421 no\r\n", finished(Stage.DATA, 421)),
    (b"550 late\r\n421 no\r\n", finished(Stage.RCPT, 421)),
    (OK + OK + OK, None),
    (OK + b"550 late\r\n" + OK, None),
    # No second reply, but a refusal: the replies behind it agree.
    (b"550 no\r\n503 none\r\n", finished(Stage.MAIL, 550)),
    (b"550 no\r\n503 none\r\n503 none\r\n", finished(Stage.MAIL, 550)),
    (b"550 no\r\n" + OK + GO + OK, finished(Stage.MAIL, 550)),
    (OK + b"550 no\r\n", finished(Stage.RCPT, 550)),
]


@CUTS
@pytest.mark.parametrize(("answers", "expected"), SECOND_REPLIES)
def test_a_late_second_reply_to_a_content_decides_nothing(
    cut: Cut, answers: bytes, expected: Finished | None
) -> None:
    session = begin()
    session.receive(OK + OK + GO)
    session.receive(OK)
    session.send_transaction("a@b", "c@d", CONTENT)
    events: list[ClientEvent] = []
    with suppress(RemoteProtocolError):
        for part in cut(answers):
            events += session.receive(part)
    found = next((event for event in events if isinstance(event, Finished)), session.decided)
    assert found == expected


def test_without_pipelining_a_late_second_reply_to_a_content_answers_rset() -> None:
    session = ClientSession(Extensions())
    session.send_transaction("a@b", "c@d", CONTENT)
    for answer in (OK, OK, GO, OK):
        session.receive(answer)
    assert session.send_transaction("a@b", "c@d", CONTENT) == b"RSET\r\n"
    with pytest.raises(RemoteProtocolError, match="rset"):
        session.receive(b"550 late\r\n")
    assert session.decided is None
    assert not session.is_answered


@CUTS
def test_an_answer_to_nothing_ends_the_session_unless_it_is_421(cut: Cut) -> None:
    for answer in (OK, b"550 no\r\n", b"554 5.7.0 no\r\n"):
        with pytest.raises(RemoteProtocolError):
            feed(ClientSession(PIPELINING), cut, answer)
    session = ClientSession(PIPELINING)
    assert session.receive(b"421 4.4.2 idle\r\n") == []
    assert session.is_closing


@CUTS
def test_a_421_behind_the_last_answer_loses_nothing_however_it_is_cut(cut: Cut) -> None:
    session = begin()
    events = feed(session, cut, OK + OK + b"451 no\r\n421 closing\r\n")
    assert events == [finished(Stage.DATA, 451)]
    assert session.is_closing


@CUTS
def test_without_pipelining_each_command_waits_for_its_answer(cut: Cut) -> None:
    session = ClientSession(Extensions())
    assert session.send_transaction("", "c@d", CONTENT) == b"MAIL FROM:<>\r\n"
    assert feed(session, cut, OK) == [Send(b"RCPT TO:<c@d>\r\n", is_content=False)]
    assert feed(session, cut, OK) == [Send(b"DATA\r\n", is_content=False)]
    assert feed(session, cut, GO) == [SEND]
    assert session.is_content_sent
    assert feed(session, cut, b"550 no\r\n") == [finished(Stage.CONTENT, 550)]


@CUTS
def test_without_pipelining_a_refusal_ends_at_once_and_is_reset(cut: Cut) -> None:
    session = ClientSession(Extensions())
    session.send_transaction("a@b", "c@d", CONTENT)
    assert feed(session, cut, b"450 no\r\n") == [finished(Stage.MAIL, 450)]
    assert session.send_transaction("a@b", "c@d", CONTENT) == b"MAIL FROM:<a@b>\r\n"
    assert feed(session, cut, OK + b"") == [Send(b"RCPT TO:<c@d>\r\n", is_content=False)]
    assert feed(session, cut, b"550 no\r\n") == [finished(Stage.RCPT, 550)]
    assert session.send_transaction("a@b", "c@d", CONTENT) == b"RSET\r\n"
    assert feed(session, cut, OK) == [Send(b"MAIL FROM:<a@b>\r\n", is_content=False)]


def test_an_answer_that_comes_with_the_one_before_it_is_too_early() -> None:
    session = ClientSession(Extensions())
    session.send_transaction("a@b", "c@d", CONTENT)
    with pytest.raises(RemoteProtocolError, match="before the command"):
        session.receive(OK + OK)
    with pytest.raises(RemoteProtocolError, match="before the command"):
        begin().receive(OK + OK + GO + OK)
    assert begin().receive(OK + OK + GO + b"421 no\r\n") == [SEND, finished(Stage.CONTENT, 421)]


def test_a_reset_that_is_refused_is_out_of_step() -> None:
    session = begin()
    session.receive(OK + b"550 no\r\n554 none\r\n")
    session.send_transaction("a@b", "c@d", CONTENT)
    with pytest.raises(RemoteProtocolError, match="rset"):
        session.receive(b"502 what\r\n")


def test_quit_waits_for_the_end_of_a_transaction() -> None:
    session = begin()
    with pytest.raises(LocalProtocolError):
        session.quit()
    session.receive(OK + OK + GO)
    session.receive(OK)
    assert session.quit() == b"QUIT\r\n"
    assert session.receive(b"221 bye\r\n") == []
    assert session.is_closing


def test_content_that_was_never_handed_over_leaves_no_doubt() -> None:
    session = begin()
    with pytest.raises(RemoteProtocolError):
        session.receive(OK + OK + GO + OK)
    assert not session.is_content_sent
