"""A client's session: what it writes, and which reply belongs to which command."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.client.session import ClientSession, Unsendable
from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.events import (
    ClientEvent,
    Content,
    Data,
    Ended,
    Finished,
    Hello,
    Login,
    Mail,
    Recipient,
    ScramFinish,
    ScramStart,
    Send,
    ServerEvent,
    Stage,
    StartTls,
)
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply
from shared.smtp.server.options import ServerOptions
from shared.smtp.server.session import ServerSession
from tests.support.smtp_reading import CUTS, Cut

PIPELINING = Extensions(pipelining=True)
FULL = Extensions(pipelining=True, size=True, eight_bit_mime=True, smtputf8=True)
GROUP = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
CONTENT = b"Subject: x\r\n\r\n.hi\r\n"
ENCODED = b"Subject: x\r\n\r\n..hi\r\n.\r\n"
SEND = Send(ENCODED, is_content=True)
LONE_DOT = Send(b".\r\n", is_content=False)
GO = b"354 go\r\n"
OK = b"250 2.0.0 ok\r\n"


def begin(extensions: Extensions = PIPELINING) -> ClientSession:
    session = ClientSession(extensions)
    session.send_transaction("a@b", "c@d", CONTENT)
    return session


def feed(session: ClientSession, cut: Cut, data: bytes) -> list[ClientEvent]:
    """Read the replies; data after a 354 arrives later, in a separate read."""
    *groups, last = data.split(GO)
    reads = [part for group in groups for part in cut(group + GO)]
    return [event for part in [*reads, *cut(last)] for event in session.receive(part)]


def finished(stage: Stage, code: int, text: str = "no") -> Finished:
    return Finished(stage, Reply(code, "", text))


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
    b"250 ok\n",
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
        (Extensions(size=True), "c@d", UTF8, b" SIZE=24"),
        (Extensions(eight_bit_mime=True), "c@d", UTF8, b" BODY=8BITMIME"),
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


def test_quit_waits_for_the_end_of_a_transaction() -> None:
    session = begin()
    with pytest.raises(LocalProtocolError):
        session.quit()
    session.receive(OK + OK + GO)
    session.receive(OK)
    assert session.quit() == b"QUIT\r\n"
    assert session.receive(b"221 bye\r\n") == []
    assert session.is_closing


# -- both sessions of this project, against one another

REFUSALS = {
    "mail-": (Mail, Stage.MAIL),
    "rcpt-": (Recipient, Stage.RCPT),
    "data-": (Data, Stage.DATA),
    "dot-": (Content, Stage.CONTENT),
}


def policy(event: ServerEvent, prefix: str) -> Reply:
    if prefix and isinstance(event, REFUSALS[prefix][0]):
        return Reply(550, "5.7.1", "no")
    match event:
        case Data():
            return Reply(354, "", "go")
        case Content(refusal=Reply() as refusal):
            return refusal
        case Hello() | Mail() | Recipient() | Content() | StartTls() | Ended():
            return Reply(250, "2.0.0", "ok")
        case Login() | ScramStart() | ScramFinish():
            return Reply(535, "5.7.8", "no")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", *REFUSALS]),
            st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"a", b"\xc3\xa4"]), max_size=9),
        ),
        max_size=6,
    ),
    st.booleans(),
    st.integers(1, 50),
)
def test_client_and_server_agree_on_every_message(
    messages: list[tuple[str, list[bytes]]], is_pipelining: bool, size: int
) -> None:
    offered = Extensions(pipelining=is_pipelining, size=True, eight_bit_mime=True, smtputf8=True)
    server = ServerSession(ServerOptions("mx", offered))
    server.greet(Reply(220, "", "mx"))
    client = ClientSession(offered)
    taken: list[bytes] = []
    server.receive(b"EHLO me\r\n")
    for prefix, parts in [("", [b"first"]), *messages]:
        content = b"".join(parts)
        if server.next_event():
            server.answer(Reply(250))
            server.take_output()
        written = client.send_transaction("a@b.example", "c@d.example", content)
        assert isinstance(written, bytes)
        todo = [written]
        ended: list[Finished] = []
        while todo:
            data = todo.pop(0)
            for at in range(0, len(data), size):
                server.receive(data[at : at + size])
                while (event := server.next_event()) is not None:
                    reply = policy(event, prefix)
                    if isinstance(event, Content) and reply.is_positive:
                        taken.append(event.content)
                    server.answer(reply)
                for told in client.receive(server.take_output()):
                    if isinstance(told, Send):
                        todo.append(told.data)
                    else:
                        ended.append(told)
        expected = REFUSALS[prefix][1] if prefix else Stage.CONTENT
        assert [(end.stage, end.reply.is_positive) for end in ended] == [(expected, not prefix)]
        if not prefix:
            lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines += b"\n" if lines and not lines.endswith(b"\n") else b""
            assert taken[-1] == lines.replace(b"\n", b"\r\n")


def test_content_that_was_never_handed_over_leaves_no_doubt() -> None:
    session = begin()
    with pytest.raises(RemoteProtocolError):
        session.receive(OK + OK + GO + OK)
    assert not session.is_content_sent
